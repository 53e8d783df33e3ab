import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { SmallestScores } from '../../../../services/engine/sparsity/smallest-scores.js';
import { noise } from '../quantization/method-fixtures.js';

function taken(parts: readonly Float32Array[], count: number): number[] {
  const smallest = new SmallestScores(parts, count);
  return parts.flatMap((part) => Array.from(part, (score) => (smallest.takes(score) ? 1 : 0)));
}

/** Sorted by score, equal ones by position. */
function sortedFirst(parts: readonly Float32Array[], count: number): number[] {
  const scores = parts.flatMap((part) => [...part]);
  const order = scores.map((_, at) => at).sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || a - b);
  const marks = scores.map(() => 0);
  for (const at of order.slice(0, Math.max(0, count))) marks[at] = 1;
  return marks;
}

/** Many equal scores, among them zeros, denormals and infinity. */
const scores = fc.array(fc.constantFrom(0, 2 ** -149, 1e-40, 0.25, 0.5, 0.5000001, 1, 3, 1e30, Number.POSITIVE_INFINITY), {
  maxLength: 40,
});

describe('SmallestScores', () => {
  it('takes exactly as many as it is asked for, the smallest, equal ones by position, over several parts', () => {
    fc.assert(
      fc.property(fc.array(scores, { minLength: 1, maxLength: 4 }), fc.integer({ min: -1, max: 170 }), (lists, count) => {
        const parts = lists.map((list) => Float32Array.from(list));
        expect(taken(parts, count)).toEqual(sortedFirst(parts, count));
      }),
    );
  });

  it('does the same for many scores, which are counted and not sorted', () => {
    for (const count of [0, 1, 17, 30_000, 59_999, 60_000, 60_001]) {
      const parts = [31, 32].map((seed) =>
        float32Values(noise([30_000], seed)).map((value) => Math.abs(Math.fround(Math.round(value * 5000) / 5000))),
      );
      expect(taken(parts, count)).toEqual(sortedFirst(parts, count));
    }
  });
});
