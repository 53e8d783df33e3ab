import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextDelayMs, parseRetryAfter } from '../../../services/webhooks/retry-schedule.js';

const delays = [0, 5_000, 60_000, 300_000];

describe('the retry schedule', () => {
  it('the wait after attempt n is the entry n + 1, give or take a fifth, and the last attempt is the last', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (number, random) => {
        const delay = nextDelayMs({ number, retryAfterMs: null }, delays, random);
        const base = delays[number];
        if (base === undefined) expect(delay).toBeNull();
        else {
          expect(delay).toBeGreaterThanOrEqual(base * 0.8);
          expect(delay).toBeLessThanOrEqual(base * 1.2);
        }
      }),
    );
  });

  it('a receiver can ask for more time, up to a day, and never for less', () => {
    expect(nextDelayMs({ number: 1, retryAfterMs: 90_000 }, delays, 0.5)).toBe(90_000);
    expect(nextDelayMs({ number: 1, retryAfterMs: 10 }, delays, 0.5)).toBe(5_000);
    expect(nextDelayMs({ number: 1, retryAfterMs: 1e12 }, delays, 0.5)).toBe(24 * 3600 * 1000);
  });

  it.each([
    ['120', 120_000],
    ['Mon, 23 Nov 2026 06:00:10 GMT', 10_000],
    ['Mon, 23 Nov 2026 05:00:00 GMT', 0],
    ['soon', null],
    [undefined, null],
  ])('Retry-After %s', (value, expected) => {
    expect(parseRetryAfter(value, Date.parse('2026-11-23T06:00:00Z'))).toBe(expected);
  });
});
