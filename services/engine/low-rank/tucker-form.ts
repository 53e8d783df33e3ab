/** Tucker-2: a convolution between fewer channels, with a 1 x 1 before and behind it. */
import { elementCount } from '../ir/index.js';
import { innerProduct, product, productOfRows, transposed } from './dense-products.js';
import { bayesianRank } from './evbmf.js';
import { type FormLayer, filled, type RankForm, type Ranks, roundedRank } from './rank-form.js';
import { symmetricEigen } from './symmetric-eigen.js';

/** Choices of both ranks, as parts of the channels. */
const STEPS = 8;
const SWEEPS_MAX = 8;
/** A sweep that wins a smaller part of the energy is the last one. */
const GAIN_MIN = 1e-5;

/**
 * W[m, c, k] = sum over i, o of V[m, o] G[o, i, k] U[i, c] (Kim et al. 2016): 1 x 1 from C to r1, the window from r1 to r2, 1 x 1 to M.
 * null for windows of one position.
 */
export function tuckerForm(layer: FormLayer, multiple: number): RankForm | null {
  const { channels, inputs, kernel } = layer;
  const positions = elementCount(kernel);
  if (positions === 1) return null;
  const size = ([r1 = 0, r2 = 0]: Ranks): number => inputs * r1 + r1 * r2 * positions + r2 * channels;
  const pairs = Array.from({ length: STEPS }, (_, at): Ranks => {
    const part = (at + 1) / STEPS;
    return [roundedRank(part * inputs, multiple, inputs), roundedRank(part * channels, multiple, channels)];
  });
  const ladder = pairs.filter(
    (ranks, at) => size(ranks) < layer.rows.length && pairs.findIndex((other) => other.join() === ranks.join()) === at,
  );
  const shapes = ([r1 = 0, r2 = 0]: Ranks) => [
    { dims: [r1, inputs, ...filled(kernel, 1)], group: 1, walk: [] },
    { dims: [r2, r1, ...kernel], group: 1, walk: [...kernel.keys()] },
    { dims: [channels, r2, ...filled(kernel, 1)], group: 1, walk: [] },
  ];
  return {
    name: 'tucker',
    full: [inputs, channels],
    ladder,
    shapes,
    factors(ranks) {
      const { inner, core, outer } = alternated(layer, positions, ranks);
      const values = [inner, core, transposed(outer, ranks[1] ?? 0, channels)];
      return shapes(ranks).map((shape, at) => ({ ...shape, values: Float32Array.from(values[at] ?? []) }));
    },
    signal() {
      const sides = [leading(byInputs(layer.rows, { channels, inputs, positions }), inputs, 0), leading(layer.rows, channels, 0)];
      const lengths = [channels * positions, inputs * positions];
      return sides.map(({ energies }, at) => bayesianRank(energies, [energies.length, lengths[at] ?? 1]).rank);
    },
  };
}

interface Tucker {
  /** [r1, C], orthonormal rows. */
  readonly inner: Float64Array;
  /** [r2, r1, positions] */
  readonly core: Float64Array;
  /** [r2, M], orthonormal rows. */
  readonly outer: Float64Array;
}

/**
 * HOSVD, then alternation (HOOI, De Lathauwer, De Moor, Vandewalle 2000): each side is the leading eigenvectors of W projected on the
 * other one, so the energy of the core, which is what is kept, never falls.
 */
function alternated({ rows, channels, inputs }: FormLayer, positions: number, [r1 = 0, r2 = 0]: Ranks): Tucker {
  const total = innerProduct(rows, rows);
  let inner = leading(byInputs(rows, { channels, inputs, positions }), inputs, r1).vectors;
  let kept = 0;
  for (let sweep = 0; ; sweep += 1) {
    // [M, r1 p]: all outputs of the inputs that are left.
    const narrow = byInputs(
      product(inner, byInputs(rows, { channels, inputs, positions }), { rows: r1, inner: inputs, columns: channels * positions }),
      {
        channels: r1,
        inputs: channels,
        positions,
      },
    );
    const outer = leading(narrow, channels, r2).vectors;
    const core = product(outer, narrow, { rows: r2, inner: channels, columns: r1 * positions });
    const energy = innerProduct(core, core);
    if (sweep + 1 >= SWEEPS_MAX || energy - kept <= GAIN_MIN * total) return { inner, core, outer };
    kept = energy;
    const few = product(outer, rows, { rows: r2, inner: channels, columns: inputs * positions });
    inner = leading(byInputs(few, { channels: r2, inputs, positions }), inputs, r1).vectors;
  }
}

/** [a, b, p] to [b, a, p]. */
function byInputs(
  rows: Float64Array,
  { channels, inputs, positions }: { readonly channels: number; readonly inputs: number; readonly positions: number },
): Float64Array {
  const result = new Float64Array(rows.length);
  for (let a = 0; a < channels; a += 1) {
    for (let b = 0; b < inputs; b += 1) {
      const from = (a * inputs + b) * positions;
      result.set(rows.subarray(from, from + positions), (b * channels + a) * positions);
    }
  }
  return result;
}

/** Energies of all left singular directions of a matrix with `count` rows, and the first `rank` of them. */
function leading(matrix: Float64Array, count: number, rank: number): { energies: Float64Array; vectors: Float64Array } {
  const columns = matrix.length / count;
  const { values, vectors } = symmetricEigen(productOfRows(matrix, matrix, { rows: count, inner: columns, columns: count }), count);
  return { energies: values.map((value) => Math.max(0, value)), vectors: vectors.slice(0, rank * count) };
}
