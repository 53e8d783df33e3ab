/** Whether more samples would still move the ranges. */
import type { Range } from './range.js';

/** A range that moved by no more than this share of its width has settled: less than the headroom that ranges of extremes get. */
const MOVEMENT_MAX = 0.02;
const SAMPLES_MIN = 32;
/** Below this time nothing is worth saving. */
const SECONDS_MIN = 0.5;
const CHECKPOINTS_KEPT = 4;

interface Checkpoint {
  readonly samples: number;
  readonly ranges: readonly Range[];
}

/**
 * Looks at the ranges each time the number of samples has grown by half an octave. They have settled when no end of any of them moved
 * by more than 2 % of the range since half the samples.
 */
export class RangeStability {
  private halfOctave = 0;
  private readonly seen: Checkpoint[] = [];

  /** Call after each run; `ranges` is called at checkpoints only. */
  hasSettled(samples: number, seconds: number, ranges: () => readonly Range[]): boolean {
    if (samples < this.next) return false;
    while (this.next <= samples) this.halfOctave += 1;
    const now = ranges();
    const before = this.seen.findLast((checkpoint) => checkpoint.samples <= samples / 2 + 1);
    this.seen.push({ samples, ranges: now });
    if (this.seen.length > CHECKPOINTS_KEPT) this.seen.shift();
    if (samples < SAMPLES_MIN || seconds < SECONDS_MIN || !before) return false;
    return now.every((range, at) => isNear(before.ranges[at], range));
  }

  private get next(): number {
    return Math.floor((SAMPLES_MIN / 2) * 2 ** (this.halfOctave / 2));
  }
}

function isNear(before: Range | undefined, now: Range): boolean {
  if (!before) return false;
  const allowed = MOVEMENT_MAX * (now.high - now.low);
  // Of a tensor without values both ends are infinite, and no comparison with NaN holds.
  return !(Math.abs(now.low - before.low) > allowed) && !(Math.abs(now.high - before.high) > allowed);
}
