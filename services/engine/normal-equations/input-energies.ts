/** The mean square of each input of layers: what Wanda weighs their weights with, and the diagonal of the normal equations. */
import { float32Values, integerValues } from '../ir/index.js';
import { groupsOf } from './layer-rows.js';
import { type RowSumRequest, sumRows } from './row-sums.js';

export interface InputEnergies {
  /** [groups, K]: the sum over all rows of x_k^2; K in the order of the flattened weight of one output. */
  readonly squares: Float64Array;
  readonly groups: number;
  readonly depth: number;
  /** Rows that were summed. */
  readonly rows: number;
}

/** Energies by key. A layer whose activation the main graph does not make (it lies in a branch) is missing. */
export function inputEnergies(request: RowSumRequest): Promise<Map<string, InputEnergies>> {
  return sumRows(request, (probe, { rows, layer }) => {
    const mean = probe.output(probe.node('GlobalAveragePool', [probe.node('Mul', [rows, rows])]), 'float32');
    const shape = probe.output(probe.node('Shape', [rows]), 'int64');
    const squares = new Float64Array(groupsOf(layer) * layer.depth);
    let total = 0;
    return {
      add(part) {
        const [, , count = 0] = integerValues(part(shape));
        for (const [at, value] of float32Values(part(mean)).entries()) squares[at] = (squares[at] ?? 0) + value * count;
        total += count;
      },
      result: () => ({ squares, groups: groupsOf(layer), depth: layer.depth, rows: total }),
    };
  });
}
