/** Reads the elements of any numeric tensor as JavaScript numbers, for comparing outputs. */
import { float16ToNumber } from '../ir/half-precision.js';
import { float32Values, integerValues, type Tensor } from '../ir/index.js';

/** Elements in row-major order; int64 beyond 2^53 loses its low bits. Throws TypeError for strings and types without elements of a whole byte. */
export function elementsOf(tensor: Tensor): ArrayLike<number> {
  switch (tensor.dataType) {
    case 'float32':
      return float32Values(tensor);
    case 'float64': {
      const bytes = tensor.data.read();
      const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
      return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8);
    }
    case 'float16': {
      const bytes = tensor.data.read();
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return Float32Array.from({ length: bytes.byteLength / 2 }, (_, index) => float16ToNumber(view.getUint16(index * 2, true)));
    }
    default:
      return integerValues(tensor);
  }
}

/** Index of the largest element of `values[start, start + count)`, relative to `start`; the first one among equals. */
export function argmax(values: ArrayLike<number>, start: number, count: number): number {
  let best = 0;
  for (let index = 1; index < count; index++) {
    if ((values[start + index] ?? Number.NaN) > (values[start + best] ?? Number.NaN)) best = index;
  }
  return best;
}
