/** POST /v1/jobs: model and recipe in; job row, first event and outbox row in one transaction -> 202. */
import Type from 'typebox';
import { AppError, type CompressionRecipe, type FieldError, methods, needsGivenTeacher, needsJudgedRecovery } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { JobRequest, newJobOf, resolveRecipe, traceparentOf } from './job-request.js';
import { JobResource } from './job-resource.js';
import { submitJob } from './submit-job.js';

export type CreateJobDeps = Pick<ApiDeps, 'jobs' | 'watcher' | 'metrics' | 'models' | 'datasets' | 'checkWebhookUrl'>;

const Query = Type.Object({
  validate_only: Type.Optional(
    Type.Boolean({ description: 'Check the request and answer 200 with the normalised recipe; store nothing.' }),
  ),
});

const Validation = Type.Object({
  object: Type.Literal('job_validation'),
  valid: Type.Literal(true),
  recipe: JobResource.properties.recipe,
  recipe_sha256: Type.String(),
  model_bytes: Type.Integer(),
  warnings: Type.Array(Type.String()),
});

const Headers = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({ description: 'The same key with the same body within 24 hours returns the first answer and creates nothing.' }),
  ),
  prefer: Type.Optional(Type.String({ description: '`wait=N`: hold the answer up to N (1 to 60) seconds; 201 when the job has ended.' })),
});

export function createJob(app: Api, deps: CreateJobDeps): void {
  const schema = {
    tags: ['jobs'],
    summary: 'Create a job',
    querystring: Query,
    headers: Headers,
    body: JobRequest,
    response: { 200: Validation, 201: JobResource, 202: JobResource, ...problemResponses },
  };
  app.post('/v1/jobs', { config: { scope: 'jobs:write' }, schema }, async (request, reply) => {
    const { body } = request;
    if (body.webhook_url !== undefined) await deps.checkWebhookUrl(body.webhook_url);
    const job = newJobOf(body, { requestId: request.id, traceparent: traceparentOf(request.headers.traceparent) });
    checkNeeds(resolveRecipe(body.recipe), body);
    if (request.query.validate_only === true) {
      const model = await checkReferences(deps, request.principal.tenantId, body);
      reply.code(200);
      return {
        object: 'job_validation' as const,
        valid: true as const,
        recipe: resolveRecipe(body.recipe),
        recipe_sha256: job.recipeSha256,
        model_bytes: model.bytes,
        warnings: warningsOf(body),
      };
    }
    try {
      return await submitJob(deps, { request, reply }, { job, operation: 'POST /v1/jobs', fingerprintOf: body });
    } catch (error) {
      // The insert only says that something is missing; a second look, off the fast path, says what.
      if (error instanceof AppError && error.code === 'not_found') await checkReferences(deps, request.principal.tenantId, body);
      throw error;
    }
  });
}

/** @throws AppError(not_found) that points at each id which does not exist */
async function checkReferences({ models, datasets }: CreateJobDeps, tenantId: string, body: JobRequest) {
  const errors: FieldError[] = [];
  const found = async <Row>(pointer: string, kind: string, { find, id }: Reference<Row>): Promise<Row | null> => {
    const row = id === undefined ? null : await find(tenantId, id);
    if (id !== undefined && row === null) errors.push({ pointer, code: 'not_found', detail: `No ${kind} has id ${id}.` });
    return row;
  };
  const model = await found('/model_id', 'model', { find: models.find, id: body.model_id });
  await found('/teacher_model_id', 'model', { find: models.find, id: body.teacher_model_id });
  await found('/data/calibration_id', 'data set', { find: datasets.find, id: body.data?.calibration_id });
  await found('/data/evaluation_id', 'data set', { find: datasets.find, id: body.data?.evaluation_id });
  if (model === null || errors.length > 0) throw new AppError('not_found', 'A model or a data set of this job does not exist.', { errors });
  return model;
}

interface Reference<Row> {
  readonly find: (tenantId: string, id: string) => Promise<Row | null>;
  readonly id: string | undefined;
}

/** What a recipe and the rest of the request say of a teacher must agree. */
function teacherErrors({ steps }: CompressionRecipe, { teacher_model_id: teacher }: JobRequest): FieldError[] {
  const index = steps.findIndex(needsGivenTeacher);
  if (index >= 0 && teacher === undefined) {
    const detail = 'This step learns from a given teacher: name the model as teacher_model_id.';
    return [{ pointer: `/recipe/steps/${index}/teacher`, code: 'needs_teacher', detail }];
  }
  if (index >= 0 || teacher === undefined) return [];
  const detail = 'No step of the recipe learns from it: {"method": "distill", "teacher": "given"} does.';
  return [{ pointer: '/teacher_model_id', code: 'unused_teacher', detail }];
}

/** A method that needs data or a teacher, or a gate that needs labels, without any: refused now rather than in the job. */
function checkNeeds(recipe: CompressionRecipe, body: JobRequest): void {
  const errors: FieldError[] = [];
  recipe.steps.forEach((step, index) => {
    const { method } = step;
    const needs: readonly string[] = methods[method].needs;
    if (needs.includes('data') && body.data?.calibration_id === undefined) {
      errors.push({ pointer: `/recipe/steps/${index}`, code: 'needs_data', detail: `${method} needs data.calibration_id.` });
    }
    if (needsJudgedRecovery(step) && recipe.gate?.max_metric_drop === undefined) {
      const detail = 'What learns from labels is judged by a metric: give gate.max_metric_drop, or leave the losses out.';
      errors.push({ pointer: `/recipe/steps/${index}/recovery/losses`, code: 'needs_gate', detail });
    }
  });
  if (recipe.gate?.max_metric_drop !== undefined && body.data?.evaluation_id === undefined) {
    errors.push({
      pointer: '/recipe/gate/max_metric_drop',
      code: 'needs_labels',
      detail: 'This gate needs data.evaluation_id with labels.',
    });
  }
  if (errors.length > 0) throw new AppError('recipe_invalid', 'The recipe needs what the request does not give.', { errors });
  const teacher = teacherErrors(recipe, body);
  if (teacher.length > 0) throw new AppError('recipe_invalid', 'The recipe and the teacher do not belong together.', { errors: teacher });
}

function warningsOf(body: JobRequest): string[] {
  return body.data?.evaluation_id === undefined
    ? ['Without data.evaluation_id the report compares outputs on generated inputs and has no task metric.']
    : [];
}
