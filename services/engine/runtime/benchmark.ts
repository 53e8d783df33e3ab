/** Latency of one or several models on this machine: warm-up, interleaved turns, order statistics. */
import type { Model, Tensor } from '../ir/index.js';
import type { OrtRuntime, OrtSession } from './ort-session.js';

export interface BenchmarkSubject {
  readonly model: string | Model;
  readonly feeds: ReadonlyMap<string, Tensor>;
}

export interface BenchmarkOptions {
  /** Time for all models together, warm-up included. Default 1500. Each model runs at least RUNS_MIN times whatever that takes. */
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

const RUNS_MIN = 5;
/** A model keeps the processor for about this long before the other has its turn. */
const TURN_MS = 15;
/** Start of a turn that is not counted: the other model's idle threads still spin and the caches are cold. */
const TURN_SETTLE_MS = 2;
/** What a program that uses the runtime's defaults sees. */
const timedConfig = { 'session.intra_op.allow_spinning': '1' } as const;

interface Contender {
  readonly session: OrtSession;
  readonly run: () => Promise<void>;
  readonly times: number[];
}

/**
 * Latencies in the order of `subjects`. The models take turns, so that a slow spell of the machine falls on all of them;
 * the order alternates. Throws what opening and running throw, and the signal's reason when it is aborted.
 */
export async function measureLatencies(
  runtime: OrtRuntime,
  subjects: readonly BenchmarkSubject[],
  options: BenchmarkOptions = {},
): Promise<Latency[]> {
  const budgetMs = options.budgetMs ?? 1500;
  const contenders: Contender[] = [];
  try {
    for (const { model, feeds } of subjects) {
      options.signal?.throwIfAborted();
      const session = await runtime.open(model, { config: timedConfig, ...(options.threads ? { threads: options.threads } : {}) });
      contenders.push({ session, run: () => Promise.resolve(), times: [] });
      contenders[contenders.length - 1] = { session, run: session.prepare(feeds), times: [] };
    }
    const started = performance.now();
    for (const contender of contenders) await warmUp(contender, (budgetMs * 0.15) / contenders.length, options.signal);
    await takeTurns(contenders, started + budgetMs, options);
    return contenders.map(({ times }) => summarize(times));
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

async function takeTurns(contenders: readonly Contender[], deadline: number, options: BenchmarkOptions): Promise<void> {
  const started = performance.now();
  const enough = (): boolean => contenders.every(({ times }) => times.length >= RUNS_MIN);
  for (let round = 0; !enough() || performance.now() < deadline; round++) {
    for (const contender of round % 2 === 0 ? contenders : [...contenders].reverse()) {
      options.signal?.throwIfAborted();
      await takeTurn(contender, contenders.length > 1 ? TURN_SETTLE_MS : 0);
    }
    options.progress?.(Math.min(1, (performance.now() - started) / Math.max(1, deadline - started)));
  }
}

async function takeTurn({ run, times }: Contender, settleMs: number): Promise<void> {
  const started = performance.now();
  let before = started;
  for (let first = true; first || before - started < TURN_MS; first = false) {
    await run();
    const after = performance.now();
    /** A run longer than the settling time has settled by itself. */
    if (before - started >= settleMs || after - before > settleMs) times.push(after - before);
    before = after;
  }
}

/** Quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7). `sorted` ascends and is not empty. */
export function quantile(sorted: readonly number[], q: number): number {
  const position = (sorted.length - 1) * q;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

function summarize(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b);
  return { median_ms: quantile(sorted, 0.5), p90_ms: quantile(sorted, 0.9), min_ms: sorted[0] ?? Number.NaN, runs: sorted.length };
}
