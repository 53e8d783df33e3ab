/** Before the engine runs: the model (and its teacher) with external data and the data sets, as files in the scratch folder of this attempt. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { ClaimedJob, JobInputs, StoredDataset, StoredFile } from '#platform/db';

/** The part of the blob store that jobs read from. */
export interface InputBlobs {
  /** Writes the content to a new file at `target`. */
  materialise(tenantId: string, sha256: string, target: string): Promise<void>;
}

export interface InputPaths {
  readonly modelPath: string;
  readonly teacherPath: string | null;
  readonly calibrationPath: string | null;
  readonly evaluationPath: string | null;
}

/** A model or data set of this job was deleted after the job was created. `message` is for its owner. */
export class InputMissingError extends Error {
  override readonly name = 'InputMissingError';
}

/** `folder` exists and is empty. External data keeps its place relative to the model. */
export async function materialiseInputs(
  blobs: InputBlobs,
  claimed: ClaimedJob,
  options: { inputs: JobInputs; folder: string },
): Promise<InputPaths> {
  const { inputs, folder } = options;
  const { tenantId, job } = claimed;
  if (inputs.modelFiles === null) throw new InputMissingError('The model of this job was deleted.');
  if (job.teacherModelId !== null && inputs.teacherFiles === null) throw new InputMissingError('The teacher of this job was deleted.');
  if (job.calibrationId !== null && inputs.calibration === null) throw new InputMissingError('The calibration data set was deleted.');
  if (job.evaluationId !== null && inputs.evaluation === null) throw new InputMissingError('The evaluation data set was deleted.');

  const modelAt = (name: string, files: readonly StoredFile[]) =>
    materialiseModel(blobs, { tenantId, files, folder: path.join(folder, name) });
  const datasetAt = async (name: string, dataset: StoredDataset | null) => {
    if (dataset === null) return null;
    const target = path.join(folder, `${name}.${dataset.format}`);
    await blobs.materialise(tenantId, dataset.sha256, target);
    return target;
  };
  return {
    modelPath: await modelAt('model', inputs.modelFiles),
    teacherPath: inputs.teacherFiles === null ? null : await modelAt('teacher', inputs.teacherFiles),
    calibrationPath: await datasetAt('calibration', inputs.calibration),
    evaluationPath: await datasetAt('evaluation', inputs.evaluation),
  };
}

/** The path of the .onnx file. */
async function materialiseModel(
  blobs: InputBlobs,
  { tenantId, files, folder }: { tenantId: string; files: readonly StoredFile[]; folder: string },
): Promise<string> {
  let modelPath: string | undefined;
  for (const file of files) {
    const target = path.resolve(folder, file.path);
    // Checked when the model came in; a row that says otherwise now is not followed.
    if (!target.startsWith(`${folder}${path.sep}`)) throw new Error(`The path ${file.path} leads out of the model's folder`);
    await mkdir(path.dirname(target), { recursive: true });
    await blobs.materialise(tenantId, file.sha256, target);
    if (file.role === 'model') modelPath = target;
  }
  if (modelPath === undefined) throw new Error('The model has no file with the role "model"');
  return modelPath;
}
