/** The clip whose codes tell most about the values: least Kullback-Leibler divergence from the clipped histogram. */
import type { BinnedMass } from './binned-mass.js';
import type { Range } from './range.js';

/** Positions of one end that are compared before the best one's surroundings are. */
const CANDIDATES = 64;

/**
 * KL(p || q) over windows [first, end) of bins (TensorRT's calibration; methods.md 2.6 names what onnxruntime.quantization gets
 * wrong in it): p is the window with the outliers' mass added to its outer bins, q the window without them, merged into
 * `levels` codes, each code's mass spread evenly, in fractions, over its bins that are not empty in p. Both are normalized.
 * The ends move on their own: first the upper one with the lower one outermost, then the lower one. The end on whose side of 0
 * nothing lies stays, so the window of a Relu's output begins at 0.
 */
export function entropyRange(mass: BinnedMass, levels: number): Range {
  const { bins, low, width } = mass;
  if (bins <= levels) return { low, high: mass.high };
  const windows = new EntropyWindows(mass, levels);
  /** The bin that holds 0: the window reaches it from both sides. */
  const zero = Math.min(bins, Math.max(0, Math.round(-low / width)));
  const end = zero >= bins ? bins : bestOf(Math.max(levels, zero), bins, (each) => windows.divergence(0, each));
  const first = zero <= 0 ? 0 : -bestOf(-Math.min(end - levels, zero), 0, (each) => windows.divergence(-each, end));
  return { low: low + first * width, high: low + end * width };
}

/** Argmin over integers in [from, to]: a coarse grid, then every integer around its best point. Of equals, the one nearest to `to`. */
function bestOf(from: number, to: number, cost: (at: number) => number): number {
  const stride = Math.max(1, Math.ceil((to - from) / CANDIDATES));
  let best = to;
  let least = cost(to);
  const compare = (at: number): void => {
    const value = cost(at);
    if (value < least) {
      least = value;
      best = at;
    }
  };
  for (let at = to - stride; at >= from; at -= stride) compare(at);
  for (let step = Math.floor(stride / 2); step >= 1; step = Math.floor(step / 2)) {
    const around = best;
    for (const at of [around + step, around - step]) if (at >= from && at <= to) compare(at);
  }
  return best;
}

/** Divergence of any window in O(levels), from running sums over the bins. */
export class EntropyWindows {
  private readonly counts: Float64Array;
  private readonly masses: Float64Array;
  /** Element i: bins before i that are not empty; sum h ln h over them. */
  private readonly filled: Float64Array;
  private readonly informations: Float64Array;

  constructor(
    { counts, bins }: BinnedMass,
    private readonly levels: number,
  ) {
    this.counts = counts;
    this.masses = new Float64Array(bins + 1);
    this.filled = new Float64Array(bins + 1);
    this.informations = new Float64Array(bins + 1);
    for (let bin = 0; bin < bins; bin += 1) {
      const count = counts[bin] as number;
      this.masses[bin + 1] = (this.masses[bin] as number) + count;
      this.filled[bin + 1] = (this.filled[bin] as number) + (count > 0 ? 1 : 0);
      this.informations[bin + 1] = (this.informations[bin] as number) + xlogx(count);
    }
  }

  /**
   * With P and S the masses of p and q: KL = (sum p ln p - sum_k p_k ln(q_k / n_k)) / P - ln P + ln S, where code k has mass p_k
   * of p and q_k of q over n_k bins. Infinite where a code holds nothing but outliers, of which q knows nothing.
   */
  divergence(first: number, end: number): number {
    const { masses, filled, informations, counts, levels } = this;
    const total = masses.at(-1) as number;
    const below = masses[first] as number;
    const above = total - (masses[end] as number);
    const kept = total - below - above;
    if (!(kept > 0)) return Number.POSITIVE_INFINITY;
    const left = counts[first] as number;
    const right = counts[end - 1] as number;
    let sum = (informations[end] as number) - (informations[first] as number);
    sum += xlogx(left + below) - xlogx(left) + xlogx(right + above) - xlogx(right);
    for (let code = 0, from = first; code < levels; code += 1) {
      const to = first + Math.floor(((end - first) * (code + 1)) / levels);
      const q = (masses[to] as number) - (masses[from] as number);
      let p = q;
      let spread = (filled[to] as number) - (filled[from] as number);
      if (code === 0) {
        p += below;
        if (below > 0 && left === 0) spread += 1;
      }
      if (code === levels - 1) {
        p += above;
        if (above > 0 && right === 0) spread += 1;
      }
      if (p > 0) {
        if (!(q > 0)) return Number.POSITIVE_INFINITY;
        sum -= p * Math.log(q / spread);
      }
      from = to;
    }
    return sum / total - Math.log(total) + Math.log(kept);
  }
}

function xlogx(value: number): number {
  return value > 0 ? value * Math.log(value) : 0;
}
