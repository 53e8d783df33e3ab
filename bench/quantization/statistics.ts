/** Figures out of paired answers: signal to noise, agreement, an exact paired test, medians. */

/** Equal outputs have no noise; JSON has no infinity. */
export const SQNR_MAX_DB = 200;

/** SQNR = 10 log10( sum x^2 / sum (x - y)^2 ) in dB, over all elements of all samples together. */
export function sqnrDb(reference: ArrayLike<number>, actual: ArrayLike<number>): number {
  if (reference.length !== actual.length) throw new RangeError(`sqnrDb: ${reference.length} and ${actual.length} elements`);
  let [signal, noise] = [0, 0];
  for (let index = 0; index < reference.length; index++) {
    const x = reference[index] ?? Number.NaN;
    const error = x - (actual[index] ?? Number.NaN);
    signal += x * x;
    noise += error * error;
  }
  return noise === 0 ? SQNR_MAX_DB : Math.min(SQNR_MAX_DB, 10 * Math.log10(signal / noise));
}

/** The class of each row of `scores`; ties go to the lower class, as in argmax. */
export function topClasses(scores: ArrayLike<number>, classes: number): Int32Array {
  return Int32Array.from({ length: scores.length / classes }, (_, row) => {
    let best = 0;
    for (let index = 1; index < classes; index++) {
      if ((scores[row * classes + index] ?? Number.NaN) > (scores[row * classes + best] ?? Number.NaN)) best = index;
    }
    return best;
  });
}

/** How many of the first `count` are equal. */
export function equalCount(a: ArrayLike<number>, b: ArrayLike<number>, count = a.length): number {
  let equal = 0;
  for (let index = 0; index < count; index++) if (a[index] === b[index]) equal += 1;
  return equal;
}

export interface PairedTest {
  /** Samples that only the first, and only the second model answers rightly. */
  readonly only_first: number;
  readonly only_second: number;
  /** Two-sided. */
  readonly p: number;
}

/**
 * Exact McNemar test (McNemar 1947; binomial form): if both models were equally good, each of the n = b + c samples that only one of
 * them answers rightly is as likely in b as in c, so p = min(1, 2 sum_{i <= min(b, c)} C(n, i) / 2^n).
 */
export function mcnemar(first: ArrayLike<number>, second: ArrayLike<number>, labels: ArrayLike<number>): PairedTest {
  let [b, c] = [0, 0];
  for (let index = 0; index < labels.length; index++) {
    const [one, two] = [first[index] === labels[index], second[index] === labels[index]];
    if (one && !two) b += 1;
    if (two && !one) c += 1;
  }
  return { only_first: b, only_second: c, p: binomialTail(b + c, Math.min(b, c)) };
}

/** min(1, 2 P(X <= k)) for X ~ Binomial(n, 1/2); terms by C(n, i) = C(n, i - 1) (n - i + 1) / i, in logarithms against underflow. */
export function binomialTail(n: number, k: number): number {
  let logTerm = -n * Math.LN2;
  let sum = Math.exp(logTerm);
  for (let i = 1; i <= k; i++) {
    logTerm += Math.log(n - i + 1) - Math.log(i);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, 2 * sum);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
