/** Latency of one or several models on this machine: warm-up, interleaved turns, order statistics over the quiet rounds. */
import type { Model, Tensor } from '../ir/index.js';
import {
  INTERVAL_ROUNDS_MIN,
  isKnownForWhatItSays,
  isUndecided,
  middleRatio,
  quantile,
  type RatioInterval,
  ratioInterval,
} from '../timing/ratio-interval.js';
import { timedConfig } from './execution-session.js';
import type { OrtRuntime, OrtSession } from './ort-session.js';

export interface BenchmarkSubject {
  readonly model: string | Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
}

export interface BenchmarkOptions {
  /** Time for all models together, warm-up included; up to three times as long on a busy machine. Default 1500. Each model runs at least five times whatever that takes (eight when there are two); two models end earlier when their ratio is certain. */
  readonly budgetMs?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  progress?(fraction: number): void;
}

/** Wall times of one run in milliseconds. */
export interface Latency {
  readonly median_ms: number;
  readonly p90_ms: number;
  readonly min_ms: number;
  readonly runs: number;
}

const BUDGET_MS = 1500;
/** Share of the budget. */
const WARM_UP = 0.15;
/** Sessions are opened so many times, less often when the ratio of two models is certain, and once when that takes longer than the budget. */
const OPENINGS = 3;
const OPENINGS_CERTAIN = 2;
/** Of each opening but the first, whatever they take. */
const ROUNDS_MIN = 3;
const RUNS_MIN = 5;
/** A model keeps the processor for about this long before the other has its turn. */
const TURN_MS = 3;
/** Rounds in which something else took the processor are left out, for all models alike: the quietest share is kept. */
const ROUNDS_KEPT = 0.5;
/** A measurement that was disturbed, or does not tell which of two models is faster, goes on, to this many times the budget. */
const STRETCH_MAX = 3;
/** Median over fastest run, above which something else must have held the processor; models alone stay below 1.4. */
const DISTURBED_RATIO = 1.6;
/**
 * The ratio of two models is certain when it lies within this share of itself, or is known for what it says; an opening goes on for so many
 * rounds all the same.
 */
const CERTAIN_SHARE = 0.025;
const CERTAIN_ROUNDS = 16;
/** Models that differ by less than this are called alike: more rounds are not worth their time. */
export const ALIKE_SHARE = 0.05;

interface Contender {
  readonly session: OrtSession;
  readonly run: () => Promise<void>;
}

/** True when the numbers say more about the load of the machine than about the model. */
export function isDisturbed({ median_ms, min_ms }: Latency): boolean {
  return median_ms > DISTURBED_RATIO * min_ms;
}

/** Milliseconds of each counted run, by contender. */
type Round = readonly (readonly number[])[];

/** Latencies of two models, and what the first takes over the second. */
export interface PairLatencies {
  readonly latencies: readonly [Latency, Latency];
  /** The middle of the ratios of single rounds: medians of all rounds are taken at different times. */
  readonly speedup: number;
  /** In which it lies, with a confidence of 95 %. */
  readonly ratio: RatioInterval;
}

/** What `measureLatencies` says of two models, and how certain their ratio is. */
export async function measurePairLatencies(
  runtime: OrtRuntime,
  subjects: readonly [BenchmarkSubject, BenchmarkSubject],
  options: BenchmarkOptions = {},
): Promise<PairLatencies> {
  const { latencies, rounds } = await timeInTurns(runtime, subjects, options);
  const [first, second] = latencies;
  const ratio = ratioOf(rounds);
  if (!first || !second || !ratio) throw new RangeError('measurePairLatencies: one latency per model');
  return { latencies: [first, second], speedup: middleRatio(ratiosOf(rounds)), ratio };
}

/** Latencies in the order of `subjects`. Throws what opening and running throw, and the signal's reason when it is aborted. */
export async function measureLatencies(
  runtime: OrtRuntime,
  subjects: readonly BenchmarkSubject[],
  options: BenchmarkOptions = {},
): Promise<Latency[]> {
  return (await timeInTurns(runtime, subjects, options)).latencies;
}

/**
 * The models take turns, so that a slow spell of the machine falls on all of them; the order alternates. Their sessions are opened anew, as
 * what a run takes depends on where threads and memory happen to lie (decision 0014).
 */
async function timeInTurns(
  runtime: OrtRuntime,
  subjects: readonly BenchmarkSubject[],
  options: BenchmarkOptions,
): Promise<{ latencies: Latency[]; rounds: readonly Round[] }> {
  const rounds: Round[] = [];
  const latencies = (): Latency[] => {
    const quiet = quietest(rounds);
    return subjects.map((_, index) => summarize(quiet.flatMap((round) => round[index] ?? [])));
  };
  const isTold = (): boolean => {
    const ratio = ratioOf(rounds);
    const mayGoEitherWay = ratio !== null && isUndecided(ratio, ALIKE_SHARE);
    return isCertain(rounds) || (!latencies().some(isDisturbed) && !mayGoEitherWay);
  };
  let openings: number = OPENINGS;
  const goesOn = (opening: number): boolean => {
    if (opening < openings) return opening < OPENINGS_CERTAIN || !isCertain(rounds);
    return opening < STRETCH_MAX * openings && !isTold();
  };
  for (let opening = 0; goesOn(opening); opening += 1) {
    const progress = (fraction: number): void => options.progress?.(Math.min(1, (opening + fraction) / openings));
    openings = (await timeOpening(runtime, subjects, { rounds, options: { ...options, progress } })).openings;
  }
  return { latencies: latencies(), rounds };
}

/** Adds the rounds of one opening to `rounds`; says how many openings the budget is for. */
async function timeOpening(
  runtime: OrtRuntime,
  subjects: readonly BenchmarkSubject[],
  { rounds, options }: { readonly rounds: Round[]; readonly options: BenchmarkOptions },
): Promise<{ readonly openings: number }> {
  const { budgetMs = BUDGET_MS, threads, signal } = options;
  const contenders: Contender[] = [];
  try {
    const started = performance.now();
    for (const { model, feeds } of subjects) {
      signal?.throwIfAborted();
      const session = await runtime.open(model, { config: timedConfig, ...(threads ? { threads } : {}) });
      contenders.push({ session, run: session.prepare(feeds) });
    }
    const opened = performance.now();
    const openings = opened - started < budgetMs ? OPENINGS : 1;
    const shareMs = budgetMs / openings;
    for (const contender of contenders) await warmUp(contender, (shareMs * WARM_UP) / contenders.length, signal);
    await takeRounds(contenders, { rounds, deadline: opened + shareMs, options });
    return { openings };
  } finally {
    for (const { session } of contenders) await session.close();
  }
}

async function warmUp({ run }: Contender, budgetMs: number, signal?: AbortSignal): Promise<void> {
  const end = performance.now() + budgetMs;
  for (let runs = 0; runs < 2 || (performance.now() < end && runs < 200); runs++) {
    signal?.throwIfAborted();
    await run();
  }
}

async function takeRounds(
  contenders: readonly Contender[],
  { rounds, deadline, options }: { rounds: Round[]; deadline: number; options: BenchmarkOptions },
): Promise<void> {
  const started = performance.now();
  const before = rounds.length;
  const leastOfFirst = contenders.length === 2 ? INTERVAL_ROUNDS_MIN : RUNS_MIN;
  const least = before === 0 ? leastOfFirst : before + ROUNDS_MIN;
  const isTold = (): boolean => rounds.length >= before + CERTAIN_ROUNDS && isCertain(rounds);
  while (rounds.length < least || (performance.now() < deadline && !isTold())) {
    const round: number[][] = contenders.map(() => []);
    const order = [...contenders.keys()];
    for (const index of rounds.length % 2 === 0 ? order : order.reverse()) {
      options.signal?.throwIfAborted();
      const contender = contenders[index];
      if (contender) round[index] = await takeTurn(contender);
    }
    rounds.push(round);
    options.progress?.(Math.min(1, (performance.now() - started) / Math.max(1, deadline - started)));
  }
}

/** Whether the ratio of two models is known: the same disturbance falls on both turns of a round. */
function isCertain(rounds: readonly Round[]): boolean {
  if (rounds.length < CERTAIN_ROUNDS) return false;
  const interval = ratioOf(rounds);
  return interval !== null && isKnownForWhatItSays(interval, CERTAIN_SHARE);
}

/** Of the times of two models round by round; null for another number of models or too few rounds. */
function ratioOf(rounds: readonly Round[]): RatioInterval | null {
  if (rounds[0]?.length !== 2) return null;
  return ratioInterval(ratiosOf(rounds));
}

function ratiosOf(rounds: readonly Round[]): number[] {
  return rounds.map(([first, second]) => mean(first ?? []) / mean(second ?? []));
}

function mean(times: readonly number[]): number {
  return times.reduce((sum, time) => sum + time, 0) / times.length;
}

/** Short turns: the more rounds there are, the more of them fall between two disturbances. The first of several runs meets cold caches. */
async function takeTurn({ run }: Contender): Promise<number[]> {
  const times: number[] = [];
  const started = performance.now();
  for (let before = started; times.length === 0 || before - started < TURN_MS; ) {
    await run();
    const after = performance.now();
    times.push(after - before);
    before = after;
  }
  return times.length > 1 ? times.slice(1) : times;
}

/** The rounds in which the most disturbed model was disturbed least: its mean time over its own fastest turn. */
function quietest(rounds: readonly Round[]): readonly Round[] {
  const means = rounds.map((round) => round.map(mean));
  const fastest = (means[0] ?? []).map((_, index) => Math.min(...means.map((mean) => mean[index] ?? Number.POSITIVE_INFINITY)));
  const disturbance = means.map((mean) => Math.max(...mean.map((time, index) => time / (fastest[index] ?? time))));
  const kept = Math.max(Math.min(RUNS_MIN, rounds.length), Math.ceil(rounds.length * ROUNDS_KEPT));
  return rounds
    .map((round, index) => ({ round, disturbance: disturbance[index] ?? 0 }))
    .sort((a, b) => a.disturbance - b.disturbance)
    .slice(0, kept)
    .map(({ round }) => round);
}

function summarize(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b);
  return {
    median_ms: nanoseconds(quantile(sorted, 0.5)),
    p90_ms: nanoseconds(quantile(sorted, 0.9)),
    min_ms: nanoseconds(sorted[0] ?? Number.NaN),
    runs: sorted.length,
  };
}

/** The clock tells no more than nanoseconds; floating point would print more. */
function nanoseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e6) / 1e6;
}
