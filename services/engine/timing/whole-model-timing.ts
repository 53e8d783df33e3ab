/** Whether a rewritten model is faster than the one it was made from: what single layers won can be lost between them. */
import type { Model, Tensor } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { sampleFeeds } from './observed-activations.js';
import { ratioInterval } from './ratio-interval.js';

/** Milliseconds of one run. */
export interface ModelTiming {
  readonly before: number;
  readonly after: number;
}

const ROUNDS_MIN = 5;
/** A difference this clear needs no more rounds; nor does a ratio that is known within this share, or lies on one side of a tie. */
const CLEAR_RATIO = 1.25;
const CLEAR_SHARE = 0.01;
const TIE = { low: 0.98, high: 1.05 } as const;
const ROUNDS_MAX = 200;
const BUDGET_MS = 600;
/** Short models run several times a round, so that a turn is long against the clock and the switch between two thread pools. */
const TURN_MS = 2;

/** Minima over interleaved rounds, as other load only ever adds time; undefined when no input is known that the model runs on. */
export async function timeModels(before: Model, after: Model, context: MethodContext): Promise<ModelTiming | undefined> {
  const options = { config: { 'session.intra_op.allow_spinning': '1' } };
  const sessions: ExecutionSession[] = [];
  try {
    for (const model of [before, after]) sessions.push(await context.runtime.open(model, options));
    for await (const feeds of sampleFeeds(before, context)) {
      const timing = await timeSessions(sessions, feeds, context.signal);
      if (timing) return timing;
    }
    return undefined;
  } finally {
    for (const session of sessions) await session.close();
  }
}

async function timeSessions(
  [before, after]: readonly ExecutionSession[],
  feeds: ReadonlyMap<string, Tensor>,
  signal: AbortSignal,
): Promise<ModelTiming | undefined> {
  if (!before || !after) return undefined;
  let warmUp: number;
  try {
    await elapsed(before, feeds, 1);
    warmUp = await elapsed(before, feeds, 1);
    await elapsed(after, feeds, 1);
  } catch {
    // Inputs that were made up may be refused; the next ones follow.
    return undefined;
  }
  const turns = Math.max(1, Math.round(TURN_MS / Math.max(warmUp, 0.001)));
  const best = { before: Number.POSITIVE_INFINITY, after: Number.POSITIVE_INFINITY };
  const ratios: number[] = [];
  const until = performance.now() + BUDGET_MS;
  for (let round = 0; round < ROUNDS_MIN || (round < ROUNDS_MAX && performance.now() < until); round += 1) {
    signal.throwIfAborted();
    const times = { before: await elapsed(before, feeds, turns), after: await elapsed(after, feeds, turns) };
    best.before = Math.min(best.before, times.before);
    best.after = Math.min(best.after, times.after);
    ratios.push(times.before / times.after);
    if (round >= ROUNDS_MIN && isClear(best, ratios)) break;
  }
  return best;
}

function isClear({ before, after }: ModelTiming, ratios: readonly number[]): boolean {
  if (Math.max(before / after, after / before) > CLEAR_RATIO) return true;
  const interval = ratioInterval(ratios);
  if (!interval) return false;
  const { low, high } = interval;
  return low > TIE.high || high < TIE.low || high - low < 2 * CLEAR_SHARE * low;
}

/** Milliseconds of one of `turns` runs in a row, the first of which is not counted. */
async function elapsed(session: ExecutionSession, feeds: ReadonlyMap<string, Tensor>, turns: number): Promise<number> {
  if (turns > 1) await session.run(feeds);
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) await session.run(feeds);
  return (performance.now() - start) / turns;
}
