/** Reading and writing constant tensors as numbers, with float64 in between, for passes that compute new weights. */
import { type DataType, elementCount, float32Values, integerValues, type Tensor, tensorOf } from '../ir/index.js';

/** The elements as numbers, or undefined for types that a pass does not compute with. */
export function numericValues(
  tensor: Tensor,
): (ArrayLike<number> & Iterable<number> & { every(test: (value: number) => boolean): boolean }) | undefined {
  switch (tensor.dataType) {
    case 'float32':
      return float32Values(tensor);
    case 'float64': {
      const bytes = tensor.data.read().slice();
      return new Float64Array(bytes.buffer, 0, elementCount(tensor.dims));
    }
    case 'int64':
    case 'int32':
    case 'bool':
      return integerValues(tensor);
    default:
      return undefined;
  }
}

/** A float32 or float64 constant for computing new weights; undefined for any other type. */
export function floatValues(tensor: Tensor | undefined): Float32Array | Float64Array | undefined {
  if (tensor?.dataType === 'float32') return float32Values(tensor);
  const values = tensor?.dataType === 'float64' ? numericValues(tensor) : undefined;
  return values instanceof Float64Array ? values : undefined;
}

/** Rounds float64 results once to the element type. */
export function floatTensor(dataType: DataType, dims: readonly number[], values: Float64Array): Tensor {
  return tensorOf(dataType, dims, dataType === 'float64' ? values : Float32Array.from(values));
}
