/** The weights of one unit in one constant, gathered from its slices. */
import { elementCount, float32Values, type Tensor } from '../../ir/index.js';
import type { Member } from '../structure/pruning-structure.js';

/** Elements of `tensor` (float32) whose index along the axis of the member is one of its own, in the order of the constant. */
export function memberWeights(tensor: Tensor, { axis, indices, within }: Pick<Member, 'axis' | 'indices' | 'within'>): Float64Array {
  const values = float32Values(tensor);
  const { dims } = tensor;
  const inner = elementCount(dims.slice(axis + 1));
  const size = dims[axis] ?? 1;
  const gathered: number[] = [];
  for (let outer = 0; outer < values.length; outer += size * inner) {
    for (const index of indices) {
      const start = outer + index * inner;
      for (let at = start; at < start + inner; at += 1) if (isWithin(at, dims, within)) gathered.push(values[at] ?? 0);
    }
  }
  return Float64Array.from(gathered);
}

function isWithin(at: number, dims: readonly number[], within: Member['within']): boolean {
  if (!within) return true;
  const position = Math.floor(at / elementCount(dims.slice(within.axis + 1))) % (dims[within.axis] ?? 1);
  return position >= within.from && position < within.to;
}
