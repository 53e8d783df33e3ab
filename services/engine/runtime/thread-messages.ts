/** What passes between a session and the thread it runs on. */
import type { InferenceSession, Tensor } from 'onnxruntime-node';

export interface ThreadTask {
  readonly path: string;
  readonly options: InferenceSession.SessionOptions;
}

/** A tensor on its way between threads: its memory goes along, so it must belong to nobody else. */
export interface PassedTensor {
  readonly type: Tensor.Type;
  readonly dims: readonly number[];
  readonly data: Tensor['data'];
}

export type PassedTensors = Readonly<Record<string, PassedTensor>>;

export type ThreadRequest =
  | { readonly kind: 'run'; readonly feeds: PassedTensors; readonly fetches: readonly string[] }
  | { readonly kind: 'close' };

/** One for the opening and for every request. */
export type ThreadAnswer =
  | { readonly kind: 'done'; readonly results: PassedTensors }
  | { readonly kind: 'failed'; readonly message: string };

/** What is moved with a message instead of being copied: nothing of text. */
export function memoryOf(tensors: PassedTensors): ArrayBuffer[] {
  return Object.values(tensors).flatMap(({ data }) =>
    ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer ? [data.buffer] : [],
  );
}
