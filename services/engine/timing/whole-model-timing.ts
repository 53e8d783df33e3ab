/** Whether a rewritten model is faster than the one it was made from: what single layers won can be lost between them. */
import type { Model, Tensor } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { type ExecutionSession, timedConfig } from '../runtime/execution-session.js';
import { sampleFeeds } from './observed-activations.js';
import { INTERVAL_ROUNDS_MIN, isKnownWithin, isUndecided, middleRatio, type RatioInterval, ratioInterval } from './ratio-interval.js';

/** Milliseconds of one run: the fastest of `before`; that of `after` by the middle of the ratios, as the fastest runs of both meet by luck. */
export interface ModelTiming {
  readonly before: number;
  readonly after: number;
  /** In which before / after of one round lies, by their order; absent for too few rounds. */
  readonly ratio?: RatioInterval;
}

/** A difference this clear needs no more rounds; nor does a ratio that is known within this share, or lies on one side of a tie. */
const CLEAR_RATIO = 1.25;
const CLEAR_SHARE = 0.01;
const TIE = { low: 0.98, high: 1.05 } as const;
/** A model is called slower after so many rounds: fewer in a row may all have been disturbed. */
const SLOWER_ROUNDS_MIN = 16;
const ROUNDS_MAX = 200;
/** For all openings together. */
const BUDGET_MS = 600;
/**
 * What a session takes depends on where its threads and its memory happen to lie, by half and more for runs of microseconds (decision 0014):
 * sessions are opened anew so many times, less often when the answer is clear, once when that takes longer than the timing is worth.
 */
const OPENINGS = 3;
const OPENINGS_CLEAR = 2;
const OPENING_MS_MAX = 1500;
/** Of one opening; it ends early when the answer is clear after so many. */
const ROUNDS_MIN = 3;
const ROUNDS_CLEAR = 16;
/** Times the budget that may go by while a model can still be faster or slower than the one it was made from. */
const STRETCH = 3;
/** Of each session before its first round: the code around a run of microseconds is itself compiled only after hundreds of runs. */
const WARM_UP_MS = 15;
/** Short models run several times a round, so that a turn is long against the clock and the switch between two thread pools. */
const TURN_MS = 2;

/** Over interleaved rounds, as other load falls on both; undefined when no input is known that the model runs on. */
export async function timeModels(before: Model, after: Model, context: MethodContext): Promise<ModelTiming | undefined> {
  return (await timeAlternatives(before, [after], context))?.[0];
}

/** The same for several rewritten models, in their order, against one `before`. */
export async function timeAlternatives(
  before: Model,
  afters: readonly Model[],
  context: MethodContext,
): Promise<readonly ModelTiming[] | undefined> {
  const times: number[][] = [before, ...afters].map(() => []);
  const started = performance.now();
  let openings: number = OPENINGS;
  const goesOn = (opening: number): boolean => {
    if (opening < openings) return opening < OPENINGS_CLEAR || !areClear(times);
    return performance.now() - started < STRETCH * BUDGET_MS && (times[0]?.length ?? 0) < ROUNDS_MAX && mayGoEitherWay(times);
  };
  for (let opening = 0; goesOn(opening); opening += 1) {
    const found = await timeOpening([before, ...afters], { times, context });
    if (!found) return undefined;
    openings = found.openMs < OPENING_MS_MAX ? OPENINGS : 1;
  }
  const [first = [], ...others] = times;
  return others.map((after) => timingOf(first, after));
}

/** Opens the models and adds some rounds to `times`; undefined when no input is known that they run on. */
async function timeOpening(
  models: readonly Model[],
  { times, context }: { readonly times: readonly number[][]; readonly context: MethodContext },
): Promise<{ readonly openMs: number } | undefined> {
  const [before] = models;
  const sessions: ExecutionSession[] = [];
  const started = performance.now();
  try {
    for (const model of models) sessions.push(await context.runtime.open(model, { config: timedConfig }));
    const openMs = performance.now() - started;
    for await (const feeds of before ? sampleFeeds(before, context) : []) {
      const turns = await warmUp(sessions, feeds);
      if (turns === undefined) continue;
      await takeRounds(
        sessions,
        { feeds, turns, times, rounds: openMs < OPENING_MS_MAX ? ROUNDS_MIN : INTERVAL_ROUNDS_MIN },
        context.signal,
      );
      return { openMs };
    }
    return undefined;
  } finally {
    for (const session of sessions) await session.close();
  }
}

/** Runs of one turn; undefined when the sessions refuse the inputs, as they may refuse those that were made up. */
async function warmUp(sessions: readonly ExecutionSession[], feeds: ReadonlyMap<string, Tensor>): Promise<number | undefined> {
  try {
    for (const session of sessions) await elapsed(session, feeds, 1);
    const [before] = sessions;
    for (const session of sessions) {
      const end = performance.now() + WARM_UP_MS;
      while (performance.now() < end) await session.run(feeds);
    }
    const runMs = before ? await elapsed(before, feeds, 1) : 0;
    return Math.max(1, Math.round(TURN_MS / Math.max(runMs, 0.001)));
  } catch {
    return undefined;
  }
}

interface Rounds {
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly turns: number;
  /** By session. */
  readonly times: readonly number[][];
  /** The fewest. */
  readonly rounds: number;
}

async function takeRounds(
  sessions: readonly ExecutionSession[],
  { feeds, turns, times, rounds }: Rounds,
  signal: AbortSignal,
): Promise<void> {
  const started = performance.now();
  const goesOn = (round: number): boolean =>
    performance.now() - started < BUDGET_MS / OPENINGS && !(round >= ROUNDS_CLEAR && areClear(times));
  for (let round = 0; round < rounds || goesOn(round); round += 1) {
    signal.throwIfAborted();
    const order = [...sessions.entries()];
    for (const [index, session] of round % 2 === 0 ? order : order.reverse()) times[index]?.push(await elapsed(session, feeds, turns));
  }
}

function timingOf(before: readonly number[], after: readonly number[]): ModelTiming {
  const ratios = ratiosOf(before, after);
  const ratio = ratioInterval(ratios);
  const fastest = Math.min(...before);
  return { before: fastest, after: fastest / middleRatio(ratios), ...(ratio ? { ratio } : {}) };
}

function ratiosOf(before: readonly number[], after: readonly number[]): number[] {
  return after.map((time, round) => (before[round] ?? time) / time);
}

function areClear([before = [], ...afters]: readonly (readonly number[])[]): boolean {
  return afters.every((after) => isClear(timingOf(before, after), after.length));
}

/** Whether one may be faster as well as slower. */
function mayGoEitherWay([before = [], ...afters]: readonly (readonly number[])[]): boolean {
  return afters.some((after) => {
    const interval = ratioInterval(ratiosOf(before, after));
    return !interval || isUndecided(interval, CLEAR_SHARE);
  });
}

/** A slower model needs more rounds to be clear: few in a row may all have been disturbed. */
function isClear({ before, after, ratio: interval }: ModelTiming, rounds: number): boolean {
  if (!interval) return false;
  if (before / after > CLEAR_RATIO && interval.low > 1) return true;
  const isSlower = interval.high < TIE.low && rounds >= SLOWER_ROUNDS_MIN;
  return interval.low > TIE.high || isSlower || (interval.high >= TIE.low && isKnownWithin(interval, CLEAR_SHARE));
}

/** Milliseconds of one of `turns` runs in a row, the first of which is not counted. */
async function elapsed(session: ExecutionSession, feeds: ReadonlyMap<string, Tensor>, turns: number): Promise<number> {
  if (turns > 1) await session.run(feeds);
  const start = performance.now();
  for (let turn = 0; turn < turns; turn += 1) await session.run(feeds);
  return (performance.now() - start) / turns;
}
