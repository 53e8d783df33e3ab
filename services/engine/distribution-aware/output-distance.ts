/** How far apart what two models answer lies: their answers one by one, or how those are distributed. */

/** 'error': of single answers; the others compare the distributions of each output over the samples. */
export type OutputDistance = 'error' | 'kl' | 'wasserstein' | 'moments';

/** Answers of one model: [samples, elements], row by row. */
export interface Answers {
  readonly samples: number;
  readonly values: Float32Array;
}

/** Bins of equal mass in the reference; a 16th of a few hundred samples still holds enough to count. */
const BINS = 16;

/** The mean over the elements of their distances, each in units of the element's own spread in the reference. 0 for equal answers. */
export function outputDistance(reference: Answers, found: Answers, kind: OutputDistance): number {
  const elements = reference.values.length / Math.max(1, reference.samples);
  let sum = 0;
  for (let element = 0; element < elements; element += 1)
    sum += distances[kind](column(reference, element, elements), column(found, element, elements));
  return sum / Math.max(1, elements);
}

function column({ samples, values }: Answers, element: number, elements: number): Float64Array {
  return Float64Array.from({ length: samples }, (_, sample) => values[sample * elements + element] ?? 0);
}

type Distance = (reference: Float64Array, found: Float64Array) => number;

const distances: Readonly<Record<OutputDistance, Distance>> = {
  /** E (x - y)^2 / Var x. */
  error(x, y) {
    let sum = 0;
    for (const [at, value] of x.entries()) sum += ((y[at] ?? 0) - value) ** 2;
    return sum / x.length / variance(x);
  },
  /** ((E x - E y)^2 + (std x - std y)^2) / Var x: the squared 2-Wasserstein distance of two normal distributions. */
  moments(x, y) {
    return ((mean(x) - mean(y)) ** 2 + (Math.sqrt(variance(x)) - Math.sqrt(variance(y))) ** 2) / variance(x);
  },
  /** W1 = E |x_(i) - y_(i)| of the sorted answers, over the deviation. */
  wasserstein(x, y) {
    const [left, right] = [x.toSorted(), y.toSorted()];
    let sum = 0;
    for (const [at, value] of left.entries()) sum += Math.abs((right[at] ?? 0) - value);
    return sum / x.length / Math.sqrt(variance(x));
  },
  /** KL(P | Q) = sum_k p_k log(p_k / q_k) over bins that hold equal shares of the reference; each count begins at one half. */
  kl(x, y) {
    const bins = Math.max(2, Math.min(BINS, Math.floor(x.length / 8)));
    const sorted = x.toSorted();
    const edges = Array.from({ length: bins - 1 }, (_, k) => sorted[Math.floor(((k + 1) * x.length) / bins)] ?? 0);
    const [p, q] = [histogram(x, edges), histogram(y, edges)];
    return p.reduce((sum, share, k) => sum + share * Math.log(share / (q[k] ?? 1)), 0);
  },
};

function histogram(values: Float64Array, edges: readonly number[]): number[] {
  const counts = Array.from({ length: edges.length + 1 }, () => 0.5);
  for (const value of values) {
    let [low, high] = [0, edges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value >= (edges[middle] ?? 0)) low = middle + 1;
      else high = middle;
    }
    counts[low] = (counts[low] ?? 0) + 1;
  }
  const total = values.length + 0.5 * counts.length;
  return counts.map((count) => count / total);
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of a constant output 1, so that its distance is in the units of the output. */
function variance(values: Float64Array): number {
  const center = mean(values);
  const found = values.reduce((sum, value) => sum + (value - center) ** 2, 0) / values.length;
  return found > 1e-20 ? found : 1;
}
