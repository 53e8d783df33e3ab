/** Values to time kernels with: which numbers they are does not matter, denormal ones aside. */
import { elementCount, type Tensor, tensorOf } from '../ir/index.js';

/** A spread of positive and negative values without denormals. */
export function madeUpTensor(dims: readonly number[]): Tensor {
  const values = Float32Array.from({ length: elementCount(dims) }, (_, at) => ((at * 2_654_435_761) % 2048) / 1024 - 1);
  return tensorOf('float32', dims, values);
}
