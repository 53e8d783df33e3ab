/** Moves outlier channels of an activation into the weights, where each output channel has a scale of its own. */
import type { ChannelStatistics } from '../timing/observed-activations.js';

/** Weights of a layer: [depth, channels] when axis 0 is reduced, [channels, depth] when axis 1 is. */
export interface SmoothedWeight {
  readonly values: Float32Array;
  readonly depth: number;
  readonly channels: number;
  readonly reductionAxis: 0 | 1;
}

/**
 * Exponents of the migration that are compared. s_k = max|x_k|^e / max|w_k|^(1-e) (SmoothQuant, arXiv 2211.10438, equation 4);
 * x_k / s_k goes into the product and s_k w_k into the codes, so the result is the same but for rounding.
 */
const EXPONENTS = [0.5, 0.6, 0.7, 0.8, 0.9];
/** The predicted rounding noise must fall to this share where the division of the activation is one more operation. */
const NOISE_SHARE_MAX = 0.5;
const FACTOR_MAX = 64;
const SMALLEST = 1e-6;

/**
 * Factors s_k by which the activation is divided and the weights are multiplied; undefined when the predicted noise would not
 * fall to `noiseShareMax` of what it is.
 */
export function smoothingFactors(
  statistics: ChannelStatistics,
  weights: readonly SmoothedWeight[],
  noiseShareMax: number = NOISE_SHARE_MAX,
): Float32Array | undefined {
  const depth = statistics.low.length;
  const reach = Float64Array.from({ length: depth }, (_, k) => Math.max(statistics.high[k] ?? 0, -(statistics.low[k] ?? 0), SMALLEST));
  const rows = rowSummary(weights, depth);
  const plain = predictedNoise(new Float64Array(depth).fill(1), { statistics, weights, rows });
  let best: { factors: Float64Array; noise: number } | undefined;
  for (const exponent of EXPONENTS) {
    const factors = normalized(reach.map((value, k) => value ** exponent / Math.max(rows.largest[k] ?? 0, SMALLEST) ** (1 - exponent)));
    const noise = predictedNoise(factors, { statistics, weights, rows });
    if (!best || noise < best.noise) best = { factors, noise };
  }
  return best && best.noise <= plain * noiseShareMax ? Float32Array.from(best.factors) : undefined;
}

/** Geometric mean 1, bounded: the product does not depend on it, but float32 stays in its comfortable range. */
function normalized(factors: Float64Array): Float64Array {
  const mean = Math.exp(factors.reduce((sum, value) => sum + Math.log(value), 0) / factors.length);
  return factors.map((value) => Math.min(FACTOR_MAX, Math.max(1 / FACTOR_MAX, value / mean)));
}

interface RowSummary {
  /** max_n |w_kn| over all weights. */
  readonly largest: Float64Array;
  /** sum_n w_kn^2 over all weights. */
  readonly power: Float64Array;
}

/** Calls `visit(k, n, w_kn)` for every weight in the order in which they lie in memory. */
function eachWeight(
  { values, depth, channels, reductionAxis }: SmoothedWeight,
  visit: (k: number, n: number, value: number) => void,
): void {
  const columns = reductionAxis === 0 ? channels : depth;
  for (let at = 0, row = 0, column = 0; at < values.length; at += 1) {
    if (reductionAxis === 0) visit(row, column, values[at] ?? 0);
    else visit(column, row, values[at] ?? 0);
    column += 1;
    if (column === columns) {
      column = 0;
      row += 1;
    }
  }
}

function rowSummary(weights: readonly SmoothedWeight[], depth: number): RowSummary {
  const largest = new Float64Array(depth);
  const power = new Float64Array(depth);
  for (const weight of weights) {
    eachWeight(weight, (k, _, value) => {
      largest[k] = Math.max(largest[k] ?? 0, Math.abs(value));
      power[k] = (power[k] ?? 0) + value * value;
    });
  }
  return { largest, power };
}

/**
 * Expected squared error of the products, with rounding errors uniform in a step D (variance D^2 / 12) and independent:
 *   activation: Dx^2 / 12 sum_k s_k^2 sum_n w_kn^2,            Dx = range of all x_k / s_k over 255 codes
 *   weights:    sum_n Dn^2 / 12 sum_k E[x_k^2] / s_k^2,        Dn = max_k |s_k w_kn| / 127
 */
function predictedNoise(
  factors: Float64Array,
  { statistics, weights, rows }: { statistics: ChannelStatistics; weights: readonly SmoothedWeight[]; rows: RowSummary },
): number {
  let low = 0;
  let high = 0;
  let activationPower = 0;
  let weightPower = 0;
  for (const [k, factor] of factors.entries()) {
    low = Math.min(low, (statistics.low[k] ?? 0) / factor);
    high = Math.max(high, (statistics.high[k] ?? 0) / factor);
    weightPower += factor ** 2 * (rows.power[k] ?? 0);
    activationPower += (statistics.power[k] ?? 0) / factor ** 2;
  }
  let squaredSteps = 0;
  for (const weight of weights) {
    const largest = new Float64Array(weight.channels);
    eachWeight(weight, (k, n, value) => {
      const size = Math.abs((factors[k] ?? 1) * value);
      if (size > (largest[n] ?? 0)) largest[n] = size;
    });
    squaredSteps += largest.reduce((sum, value) => sum + (value / 127) ** 2, 0);
  }
  return (((high - low) / 255) ** 2 * weightPower + squaredSteps * activationPower) / 12;
}
