/** Two factors by singular values: the layer with fewer outputs, and a combination of these at single positions. */
import { elementCount } from '../ir/index.js';
import { bayesianRank } from './evbmf.js';
import { type PrincipalFactors, principalFactors, type WeightMetric } from './principal-factors.js';
import { type FormLayer, filled, multiplesUpTo, type RankForm, type Ranks } from './rank-form.js';

export interface SvdOptions {
  readonly multiple: number;
  /** Measure of the error; null for that of the weights. */
  readonly metric: WeightMetric | null;
}

/**
 * MatMul [K, N] to [K, r] and [r, N]; Conv to one of r outputs and a 1 x 1 (channel SVD, Zhang et al. 2015). It saves where
 * r (K + N) < K N. The factors are the best ones of each rank under the metric (principal-factors.ts).
 */
export function svdForm(layer: FormLayer, { multiple, metric }: SvdOptions): RankForm {
  const { rows, channels, inputs, kernel } = layer;
  const depth = inputs * elementCount(kernel);
  const full = Math.min(channels, depth);
  const useful = Math.min(full, Math.ceil((depth * channels) / (depth + channels)) - 1);
  const ladder = multiplesUpTo(useful, multiple, useful).map((rank) => [rank]);
  const principal = principalFactors({ rows, channels, depth, metric: ladder.length > 0 ? metric : null }, ladder.at(-1)?.[0] ?? 0);
  const isPlain = metric === null;
  return {
    name: 'svd',
    full: [full],
    ladder,
    ...slices(principal, { channels, inputs, kernel }),
    signal() {
      const { energies } = isPlain ? principal : principalFactors({ rows, channels, depth, metric: null }, 0);
      return [bayesianRank(energies, [channels, depth]).rank];
    },
  };
}

/** Apart, so that a choice that is kept holds no more than the factors. */
function slices(
  { energies, first, last, rank: most }: PrincipalFactors,
  { channels, inputs, kernel }: Omit<FormLayer, 'rows'>,
): Pick<Required<RankForm>, 'shapes' | 'factors' | 'lost'> {
  const depth = inputs * elementCount(kernel);
  const shapes = ([rank = 0]: Ranks) => [
    { dims: [rank, inputs, ...kernel], group: 1, walk: [...kernel.keys()] },
    { dims: [channels, rank, ...filled(kernel, 1)], group: 1, walk: [] },
  ];
  return {
    shapes,
    factors(ranks) {
      const [rank = 0] = ranks;
      const values = [first.slice(0, rank * depth), leadingColumns(last, { rows: channels, columns: most, wanted: rank })];
      return shapes(ranks).map((shape, at) => ({ ...shape, values: values[at] ?? new Float32Array() }));
    },
    lost: ([rank = 0]) => tailShare(energies, rank),
  };
}

/** The part of the sum that stands at `from` and behind. */
export function tailShare(energies: Float64Array, from: number): number {
  const total = energies.reduce((sum, value) => sum + value, 0);
  return total > 0 ? energies.subarray(from).reduce((sum, value) => sum + value, 0) / total : 0;
}

export function leadingColumns(
  values: Float32Array,
  { rows, columns, wanted }: { readonly rows: number; readonly columns: number; readonly wanted: number },
): Float32Array {
  const result = new Float32Array(rows * wanted);
  for (let row = 0; row < rows; row += 1) result.set(values.subarray(row * columns, row * columns + wanted), row * wanted);
  return result;
}
