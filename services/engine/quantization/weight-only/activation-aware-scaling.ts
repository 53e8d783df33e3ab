/** AWQ: factors by which the inputs of products are divided and their weights multiplied, so that the weights that matter are rounded less. */

import { diagonal, quantizeMatrix } from './block-quantization.js';
import { type BlockScheme, type WeightRows, widened } from './blocked-weights.js';
import type { Moments } from './input-moments.js';
import { momentsTensor, type OutputErrors } from './output-error.js';

/** Products that read one input. */
export interface ScaledProducts {
  readonly matrices: readonly { readonly rows: WeightRows; readonly scheme: BlockScheme }[];
  readonly depth: number;
  readonly moments: Moments;
}

const EXPONENTS = Array.from({ length: 20 }, (_, at) => at / 20);
/** Inputs that are hardly ever used count as this share of the largest. */
const SMALLEST_SHARE = 1e-4;

export interface ScaleSearch {
  readonly factors: Float32Array;
  /** Output error with these factors over that without, both by RTN: below 1. */
  readonly gain: number;
}

/**
 * s_k = m_k^r / sqrt(max m^r min m^r) with m_k = rms(x_k), for r in {0, .05, ..., .95}: the r with the least
 *   E || Q(W diag s) diag(s)^-1 x - W x ||^2,  Q by RTN
 * over all products of the input (Lin et al. 2023, AWQ, equation 4; methods.md 3.7, which takes mean |x_k|: the moments hold the
 * root of the mean square, another measure of the same size). Null when no scaling is better.
 */
export async function searchScales(group: ScaledProducts, errors: OutputErrors): Promise<ScaleSearch | null> {
  const { depth, moments } = group;
  const sizes = diagonal(moments, depth).map(Math.sqrt);
  const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
  if (largest === 0) return null;
  const plain = await scaledError(group, new Float32Array(depth).fill(1), errors);
  let best: ScaleSearch | null = null;
  for (const exponent of EXPONENTS.slice(1)) {
    const factors = normalized(sizes.map((size) => Math.max(size, SMALLEST_SHARE * largest) ** exponent));
    const gain = (await scaledError(group, factors, errors)) / plain;
    if (gain < (best?.gain ?? 1)) best = { factors, gain };
  }
  return best;
}

/** The product does not depend on their size; this one keeps weights and inputs in their range. */
function normalized(factors: Float64Array): Float32Array {
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  for (const factor of factors) {
    low = Math.min(low, factor);
    high = Math.max(high, factor);
  }
  const middle = Math.sqrt(low * high);
  return Float32Array.from(factors, (factor) => factor / middle);
}

/** Rows with input k times `factors[k]`. */
export function scaledRows(rows: WeightRows, factors: Float32Array): WeightRows {
  return { ...rows, values: rows.values.map((value, at) => value * (factors[at % rows.depth] ?? 1)) };
}

async function scaledError({ matrices, depth, moments }: ScaledProducts, factors: Float32Array, errors: OutputErrors): Promise<number> {
  const inverse = factors.map((factor) => 1 / factor);
  const tensor = momentsTensor(moments, depth);
  let sum = 0;
  for (const { rows, scheme } of matrices) {
    const approximation = widened(quantizeMatrix('rtn', { rows: scaledRows(rows, factors), scheme }));
    sum += await errors.error(rows, scaledRows({ ...rows, values: approximation }, inverse).values, tensor);
  }
  return sum;
}
