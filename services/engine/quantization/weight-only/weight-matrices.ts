/** Float weights with the reduced axis last, as the algorithms take them, and back in the layout of the model. */
import { float32Tensor, float32Values, type Tensor } from '../../ir/index.js';
import type { WeightRows } from './blocked-weights.js';

/** [rows, columns] to [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) result[column * rows + row] = values[row * columns + column] ?? 0;
  }
  return result;
}

/** The matrix `tensor` as rows of what is summed over: `axis` is the axis of the sum. */
export function rowsOf(tensor: Tensor, axis: 0 | 1): WeightRows {
  const [first = 0, second = 0] = tensor.dims;
  const values = float32Values(tensor);
  if (axis === 1) return { values, channels: first, depth: second };
  return { values: transposed(values, first, second), channels: second, depth: first };
}

/** The tensor whose rows `values` [channels, depth] are. */
export function tensorOfRows({ values, channels, depth }: WeightRows, axis: 0 | 1): Tensor {
  if (axis === 1) return float32Tensor([channels, depth], values);
  return float32Tensor([depth, channels], transposed(values, channels, depth));
}
