/** Inspection of an uploaded model in a thread with limits on time and memory; a file that breaks them is refused. */
import { AppError, isErrorCode } from '#contracts';
import { startThread } from '#platform/programs';

export interface InspectionTask {
  /** External data lies beside it. */
  readonly modelPath: string;
}

export type InspectionAnswer =
  | { readonly outcome: 'inspected'; readonly inspection: Readonly<Record<string, unknown>>; readonly externalData: readonly string[] }
  | { readonly outcome: 'external_data_missing'; readonly missing: readonly string[] }
  | { readonly outcome: 'refused'; readonly code: string; readonly message: string }
  | { readonly outcome: 'failed'; readonly message: string };

export interface Inspected {
  readonly inspection: Readonly<Record<string, unknown>>;
  /** Paths relative to the model. */
  readonly externalData: readonly string[];
}

const timeoutMs = 60_000;
const resourceLimits = { maxOldGenerationSizeMb: 1_024, maxYoungGenerationSizeMb: 64, stackSizeMb: 8 };
/** Each takes memory of its own. */
const threadsMax = 2;

let running = 0;
const waiting: (() => void)[] = [];

/** @throws AppError with the code of the model's fault */
export async function inspectUpload(task: InspectionTask): Promise<Inspected> {
  if (running >= threadsMax) await new Promise<void>((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return verdict(await runThread(task));
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

function runThread(task: InspectionTask): Promise<InspectionAnswer> {
  return new Promise((resolve, reject) => {
    const thread = startThread('api/uploads/inspection-thread', { workerData: task, resourceLimits, stdout: true, stderr: true, env: {} });
    const timer = setTimeout(() => {
      resolve({
        outcome: 'refused',
        code: 'model_unsupported',
        message: `The model could not be read within ${timeoutMs / 1_000} seconds.`,
      });
      void thread.terminate();
    }, timeoutMs);
    thread.once('message', (message: InspectionAnswer) => resolve(message));
    thread.once('error', (error: Error & { code?: string }) => {
      if (error.code !== 'ERR_WORKER_OUT_OF_MEMORY') return reject(error);
      resolve({ outcome: 'refused', code: 'model_unsupported', message: 'Reading the structure of the model takes too much memory.' });
    });
    thread.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`The inspection thread ended with code ${code} and no answer.`));
    });
  });
}

function verdict(answer: InspectionAnswer): Inspected {
  switch (answer.outcome) {
    case 'inspected':
      return answer;
    case 'external_data_missing': {
      const names = answer.missing.slice(0, 10);
      const errors = names.map((name) => ({ pointer: '/file', code: 'external_data_missing', detail: `${name} is not in the upload.` }));
      const text = `The model keeps weights in other files that were not sent: ${names.join(', ')}. Send a .zip or .tar with all of them.`;
      throw new AppError('external_data_missing', text, { errors });
    }
    case 'refused':
      throw new AppError(isErrorCode(answer.code) ? answer.code : 'model_invalid', answer.message);
    case 'failed':
      // A decoder that trips over its input has met a file that is not what it should be; the log keeps the trace.
      throw new AppError('model_invalid', 'The file cannot be read as an ONNX model.', { context: { inspection: answer.message } });
  }
}
