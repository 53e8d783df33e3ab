/** The smallest of many scores: exact counts, ties by position, nothing sorted that is large. */

/** Below so many scores a sorted copy is quicker than counting bit patterns. */
const SORTED_MAX = 2 ** 15;
const HALF = 2 ** 16;

/** Tells of scores, asked for one after the other in the order of `parts`, which are the `count` smallest. Scores are not negative. */
export class SmallestScores {
  private readonly limit: number;
  /** How many of the scores equal to the limit are still to be taken. */
  private equal: number;

  constructor(parts: readonly Float32Array[], count: number) {
    if (count <= 0) {
      [this.limit, this.equal] = [0, 0];
      return;
    }
    const total = parts.reduce((sum, { length }) => sum + length, 0);
    const { limit, below } = (total <= SORTED_MAX ? bySorting : byCounting)(parts, Math.min(count, total));
    this.limit = limit;
    this.equal = Math.min(count, total) - below;
  }

  takes(score: number): boolean {
    if (score < this.limit) return true;
    if (score !== this.limit || this.equal === 0) return false;
    this.equal -= 1;
    return true;
  }
}

interface Threshold {
  /** The `count`-th smallest score. */
  readonly limit: number;
  /** Scores below it. */
  readonly below: number;
}

function bySorting(parts: readonly Float32Array[], count: number): Threshold {
  const sorted = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    sorted.set(part, at);
    at += part.length;
  }
  sorted.sort();
  const limit = sorted[count - 1] ?? 0;
  return { limit, below: sorted.indexOf(limit) };
}

/** Bit patterns of floats that are not negative are ordered as the floats are: the halves of the pattern are found one by one. */
function byCounting(parts: readonly Float32Array[], count: number): Threshold {
  const patterns = parts.map(({ buffer, byteOffset, length }) => new Uint32Array(buffer, byteOffset, length));
  const upper = new Uint32Array(HALF);
  for (const part of patterns) for (const bits of part) upper[bits >>> 16] = (upper[bits >>> 16] ?? 0) + 1;
  const high = countedTo(upper, count);
  const lower = new Uint32Array(HALF);
  for (const part of patterns) {
    for (const bits of part) if (bits >>> 16 === high.index) lower[bits & (HALF - 1)] = (lower[bits & (HALF - 1)] ?? 0) + 1;
  }
  const low = countedTo(lower, count - high.before);
  const [limit = 0] = new Float32Array(Uint32Array.of(high.index * HALF + low.index).buffer);
  return { limit, below: high.before + low.before };
}

/** The first index up to which `count` are counted, and how many are counted before it. */
function countedTo(counts: Uint32Array, count: number): { index: number; before: number } {
  let before = 0;
  for (let index = 0; index < HALF; index += 1) {
    const here = counts[index] ?? 0;
    if (before + here >= count) return { index, before };
    before += here;
  }
  throw new RangeError(`smallest scores: ${count} of ${before}`);
}
