/** Whether more samples would still move the ranges. */
import type { Range } from './range.js';

/** A range that moved by no more than this share of its width has settled. */
const MOVEMENT_MAX = 0.01;
const SAMPLES_MIN = 32;
/** Below this time nothing is worth saving. */
const SECONDS_MIN = 2;

/**
 * Compares the ranges each time the number of samples has doubled. They have settled when no end of any of them moved by more
 * than 1 % of the range since half the samples.
 */
export class RangeStability {
  private checkpoint = SAMPLES_MIN / 2;
  private before: readonly Range[] | undefined;

  /** Call after each run; `ranges` is called at checkpoints only. */
  hasSettled(samples: number, seconds: number, ranges: () => readonly Range[]): boolean {
    if (samples < this.checkpoint) return false;
    while (this.checkpoint <= samples) this.checkpoint *= 2;
    const now = ranges();
    const { before } = this;
    this.before = now;
    return samples >= SAMPLES_MIN && seconds >= SECONDS_MIN && before !== undefined && now.every((range, at) => isNear(before[at], range));
  }
}

function isNear(before: Range | undefined, now: Range): boolean {
  if (!before) return false;
  const allowed = MOVEMENT_MAX * (now.high - now.low);
  // Of a tensor without values both ends are infinite, and no comparison with NaN holds.
  return !(Math.abs(now.low - before.low) > allowed) && !(Math.abs(now.high - before.high) > allowed);
}
