/** Whether a rewritten model is faster than the one it was made from: what single layers won can be lost between them. */
import type { Model, Tensor } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { sampleFeeds } from './observed-activations.js';

/** Milliseconds of one run. */
export interface ModelTiming {
  readonly before: number;
  readonly after: number;
}

const ROUNDS_MIN = 5;
/** A difference this clear needs no more rounds. */
const CLEAR_RATIO = 1.25;
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
  const until = performance.now() + BUDGET_MS;
  for (let round = 0; round < ROUNDS_MIN || (round < ROUNDS_MAX && performance.now() < until); round += 1) {
    signal.throwIfAborted();
    best.before = Math.min(best.before, await elapsed(before, feeds, turns));
    best.after = Math.min(best.after, await elapsed(after, feeds, turns));
    if (round >= ROUNDS_MIN && Math.max(best.before / best.after, best.after / best.before) > CLEAR_RATIO) break;
  }
  return best;
}

/** Milliseconds of one of `turns` runs in a row, the first of which is not counted. */
async function elapsed(session: ExecutionSession, feeds: ReadonlyMap<string, Tensor>, turns: number): Promise<number> {
  if (turns > 1) await session.run(feeds);
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) await session.run(feeds);
  return (performance.now() - start) / turns;
}
