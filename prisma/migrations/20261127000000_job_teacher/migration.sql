-- A job may bring a second model: the teacher that the method "distill" follows.
ALTER TABLE "job" ADD COLUMN "teacher_model_id" TEXT;
