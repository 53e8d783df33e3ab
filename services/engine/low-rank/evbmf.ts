/** How many singular values of a matrix are signal: the analytic solution of variational Bayesian matrix factorisation. */

export interface BayesianRank {
  readonly rank: number;
  /** Estimated variance of the noise on each element. */
  readonly variance: number;
}

/** Below this share of the largest one, a squared singular value is rounding. */
const ROUNDING = 1e-13;
const GRID = 128;
const REFINEMENTS = 60;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Empirical VBMF (Nakajima, Sugiyama, Babacan, Tomioka 2013: Global analytic solution of fully-observed variational Bayesian
 * matrix factorization). For an L x M matrix, L <= M, a = L / M, t = 2.5129 sqrt(a), xb = (1 + t)(1 + a / t), the noise variance
 * s2 minimises over x_i = squares_i / (M s2)
 *   sum_{x <= xb} (x - ln x) + sum_{x > xb} (x - tau(x) + ln((tau + 1) / x) + a ln(tau / a + 1)),
 *   tau(x) = (x - (1 + a) + sqrt((x - (1 + a))^2 - 4 a)) / 2,
 * and the rank is the number of squares above M s2 xb. `squares` are the squared singular values, the largest first.
 */
export function bayesianRank(squares: ArrayLike<number>, sides: readonly [number, number]): BayesianRank {
  const [L, M] = [Math.min(...sides), Math.max(...sides)];
  const a = L / M;
  const t = 2.5129 * Math.sqrt(a);
  const bound = (1 + t) * (1 + a / t);
  const largest = squares[0] ?? 0;
  const kept = Array.from({ length: Math.min(L, squares.length) }, (_, i) => squares[i] ?? 0).filter((each) => each > ROUNDING * largest);
  if (kept.length === 0) return { rank: 0, variance: 0 };
  // Values that are rounding carry no noise, and a noise of zero has no logarithm: the rank is what is left.
  if (kept.length < L) return { rank: kept.length, variance: 0 };
  const first = Math.max(0, Math.min(Math.ceil(L / (1 + a)) - 1, L) - 1);
  const tail = kept.slice(Math.min(first + 1, kept.length - 1));
  const lower = Math.max((tail[0] ?? 0) / (M * bound), sumOf(tail) / tail.length / M);
  const upper = sumOf(kept) / (L * M);
  const objective = (variance: number): number => kept.reduce((sum, each) => sum + term(each / (M * variance), a, bound), 0);
  const variance = least(objective, Math.min(lower, upper), upper);
  return { rank: kept.filter((each) => each > M * variance * bound).length, variance };
}

function term(x: number, a: number, bound: number): number {
  if (x <= bound) return x - Math.log(x);
  const centre = x - (1 + a);
  const tau = (centre + Math.sqrt(Math.max(0, centre * centre - 4 * a))) / 2;
  return x - tau + Math.log((tau + 1) / x) + a * Math.log(tau / a + 1);
}

/** The least point of `f` in [low, high], which may have several valleys: a grid, then golden sections around its best point. */
function least(f: (x: number) => number, low: number, high: number): number {
  const ratio = (high / low) ** (1 / GRID);
  let best = 0;
  for (let i = 1; i <= GRID; i += 1) if (f(low * ratio ** i) < f(low * ratio ** best)) best = i;
  let [from, to] = [low * ratio ** Math.max(0, best - 1), low * ratio ** Math.min(GRID, best + 1)];
  for (let step = 0; step < REFINEMENTS; step += 1) {
    const [left, right] = [to - GOLDEN * (to - from), from + GOLDEN * (to - from)];
    if (f(left) < f(right)) to = right;
    else from = left;
  }
  return (from + to) / 2;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
