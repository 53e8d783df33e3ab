/** The learning rate of a step: a function of the options and the step alone, so that a resumed run goes on where it was. */
import { EngineError } from '../engine-errors.js';

export interface LearningRateOptions {
  /** The highest rate of the run. */
  readonly rate: number;
  /** Steps in which the rate rises to where the schedule begins; default 0. */
  readonly warmUpSteps?: number;
  /** Default constant; it begins when the rate has risen and takes the rest of the run. */
  readonly schedule?: Schedule;
}

export type Schedule = ConstantSchedule | CosineSchedule | StepSchedule | OneCycleSchedule;

interface ConstantSchedule {
  readonly name: 'constant';
}

interface CosineSchedule {
  readonly name: 'cosine';
  /** Share of the rate that is left at the end, 0 to 1; default 0. */
  readonly finalShare?: number;
}

interface StepSchedule {
  readonly name: 'step';
  /** Shares of the run after which the rate falls, 0 to 1. */
  readonly at: readonly number[];
  /** What the rate is multiplied with each time, above 0, at most 1; default 0.1. */
  readonly factor?: number;
}

interface OneCycleSchedule {
  readonly name: 'one-cycle';
  /** Share of the run in which the rate rises, above 0 and below 1; default 0.3. */
  readonly riseShare?: number;
  /** The rate begins at the highest divided by this; default 25. */
  readonly startDivisor?: number;
  /** It ends at the one it began with, divided by this; default 10,000. */
  readonly endDivisor?: number;
}

/** Throws EngineError `recipe_invalid` for options that give no rate. */
export function checkLearningRate({ rate, warmUpSteps = 0, schedule }: LearningRateOptions): void {
  const demand = (holds: boolean, what: string): void => {
    if (!holds) throw new EngineError('recipe_invalid', `The learning rate cannot be used: ${what}.`);
  };
  demand(rate > 0 && Number.isFinite(rate), `rate must be above 0, not ${rate}`);
  demand(Number.isInteger(warmUpSteps) && warmUpSteps >= 0, `warmUpSteps must be a whole number, not ${warmUpSteps}`);
  if (schedule?.name === 'cosine') demand(isShare(schedule.finalShare ?? 0), 'finalShare must be from 0 to 1');
  if (schedule?.name === 'step') {
    demand(schedule.at.every(isShare), 'the places where it falls must be shares of the run, from 0 to 1');
    demand(isShare(schedule.factor ?? 1) && schedule.factor !== 0, 'factor must be above 0 and at most 1');
  }
  if (schedule?.name === 'one-cycle') {
    const { riseShare = 0.3, startDivisor = 25, endDivisor = 1e4 } = schedule;
    demand(riseShare > 0 && riseShare < 1, `riseShare must be above 0 and below 1, not ${riseShare}`);
    demand(startDivisor >= 1 && endDivisor > 0, 'startDivisor must be at least 1 and endDivisor above 0');
  }
}

const isShare = (value: number): boolean => value >= 0 && value <= 1;

/** `step` from 0 to `totalSteps` - 1. */
export function learningRateAt(options: LearningRateOptions, step: number, totalSteps: number): number {
  const { rate, warmUpSteps = 0, schedule = { name: 'constant' } } = options;
  const length = Math.max(1, totalSteps - warmUpSteps);
  if (step < warmUpSteps) return (rate * scheduleShare(schedule, 0, length) * (step + 1)) / (warmUpSteps + 1);
  return rate * scheduleShare(schedule, Math.min(step - warmUpSteps, length - 1), length);
}

/** Rate at step `at` of `length`, over the highest rate. */
function scheduleShare(schedule: Schedule, at: number, length: number): number {
  switch (schedule.name) {
    case 'constant':
      return 1;
    case 'cosine':
      return between(1, schedule.finalShare ?? 0, at / length);
    case 'step':
      return (schedule.factor ?? 0.1) ** schedule.at.filter((share) => at >= Math.round(share * length)).length;
    case 'one-cycle':
      return oneCycleShare(schedule, at, length);
    default:
      return schedule satisfies never;
  }
}

/** b + (a - b) (1 + cos(pi x)) / 2: from `a` at x = 0 to `b` at x = 1 (Loshchilov and Hutter 2017; torch CosineAnnealingLR). */
function between(a: number, b: number, x: number): number {
  return b + ((a - b) * (1 + Math.cos(Math.PI * x))) / 2;
}

/**
 * Up along half a cosine until step riseShare length - 1, down along another one until the last step
 * (Smith and Topin 2018; torch OneCycleLR with cosine annealing).
 */
function oneCycleShare({ riseShare = 0.3, startDivisor = 25, endDivisor = 1e4 }: OneCycleSchedule, at: number, length: number): number {
  const start = 1 / startDivisor;
  const top = Math.max(0, riseShare * length - 1);
  const end = length - 1;
  if (at < top) return between(start, 1, at / top);
  return end > top ? between(1, start / endDivisor, (at - top) / (end - top)) : 1;
}
