/** Spatial SVD: a convolution over a window as one along each of its axes. */
import { bayesianRank } from './evbmf.js';
import { type PrincipalFactors, principalFactors } from './principal-factors.js';
import { type FormLayer, multiplesUpTo, type RankForm, type Ranks } from './rank-form.js';
import { leadingColumns, tailShare } from './svd-form.js';

/**
 * k_h x k_w from C to M channels becomes k_h x 1 from C to r and 1 x k_w from r to M (Jaderberg, Vedaldi, Zisserman 2014): the SVD of
 * W as the matrix [M k_w, C k_h]. Strides, pads and dilations belong to one axis each, so each factor takes those of its own.
 * null for other windows than those over two axes of more than one position, and where no rank saves.
 */
export function spatialForm(layer: FormLayer, multiple: number): RankForm | null {
  const { channels, inputs, kernel } = layer;
  const [height = 1, width = 1] = kernel;
  if (kernel.length !== 2 || height === 1 || width === 1) return null;
  const [outer, inner] = [channels * width, inputs * height];
  const full = Math.min(inner, outer);
  const useful = Math.min(full, Math.ceil((inner * outer) / (inner + outer)) - 1);
  const ladder = multiplesUpTo(useful, multiple).map((rank) => [rank]);
  if (ladder.length === 0) return null;
  const principal = principalFactors({ rows: byAxes(layer), channels: outer, depth: inner, metric: null }, ladder.at(-1)?.[0] ?? 0);
  return { name: 'spatial-svd', full: [full], ladder, ...slices(principal, { channels, inputs, height, width }) };
}

/** Apart, so that a choice that is kept holds no more than the factors. */
function slices(
  { energies, first, last, rank: most }: PrincipalFactors,
  {
    channels,
    inputs,
    height,
    width,
  }: { readonly channels: number; readonly inputs: number; readonly height: number; readonly width: number },
): Pick<Required<RankForm>, 'shapes' | 'factors' | 'lost' | 'signal'> {
  const [outer, inner] = [channels * width, inputs * height];
  const shapes = ([rank = 0]: Ranks) => [
    { dims: [rank, inputs, height, 1], group: 1, walk: [0] },
    { dims: [channels, rank, 1, width], group: 1, walk: [1] },
  ];
  return {
    shapes,
    factors(ranks) {
      const [rank = 0] = ranks;
      const columns = leadingColumns(last, { rows: outer, columns: most, wanted: rank });
      const values = [first.slice(0, rank * inner), columnsToWindow(columns, rank, width)];
      return shapes(ranks).map((shape, at) => ({ ...shape, values: values[at] ?? new Float32Array() }));
    },
    lost: ([rank = 0]) => tailShare(energies, rank),
    signal: () => [bayesianRank(energies, [outer, inner]).rank],
  };
}

/** [M, C, h, w] to [M w, C h]. */
function byAxes({ rows, channels, inputs, kernel: [height = 1, width = 1] }: FormLayer): Float64Array {
  const result = new Float64Array(rows.length);
  let at = 0;
  for (let m = 0; m < channels; m += 1) {
    for (let c = 0; c < inputs; c += 1) {
      for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1, at += 1) result[((m * width + x) * inputs + c) * height + y] = rows[at] ?? 0;
      }
    }
  }
  return result;
}

/** [M w, r] to [M, r, 1, w]. */
function columnsToWindow(values: Float32Array, rank: number, width: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += 1) {
    const [row, r] = [Math.floor(at / rank), at % rank];
    const [m, x] = [Math.floor(row / width), row % width];
    result[(m * rank + r) * width + x] = values[at] ?? 0;
  }
  return result;
}
