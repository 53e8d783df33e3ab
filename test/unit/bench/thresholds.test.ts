/** Verdicts: a bound is kept on the right side, and open where nothing was measured or the processor is another. */
import { expect, test } from 'vitest';
import { type Bound, judge } from '../../../bench/quantization/thresholds.js';

const avx2 = { u8s8_saturates: true };
const vnni = { u8s8_saturates: false };
const met = (measured: number | null, bound: Bound, machine = avx2) => judge({ subject: 's', figure: 'f', measured }, bound, machine).met;

test('a figure exactly at its bound is met, from both sides', () => {
  expect([0.98, 0.99, 0.9799].map((value) => met(value, { limit: 0.98, kind: 'least' }))).toEqual([true, true, false]);
  expect([300, 299, 301].map((value) => met(value, { limit: 300, kind: 'most' }))).toEqual([true, true, false]);
});

test('what was not measured is open, not met', () => {
  expect(met(null, { limit: 0, kind: 'least' })).toBeNull();
});

test('a bound of one kind of processor is open on the other', () => {
  const bound: Bound = { limit: 1.8, kind: 'least', only: 'saturating' };
  expect([met(2, bound, avx2), met(1, bound, avx2), met(2, bound, vnni)]).toEqual([true, false, null]);
  const other: Bound = { limit: 2, kind: 'least', only: 'vnni' };
  expect([met(2, other, vnni), met(2, other, avx2)]).toEqual([true, null]);
});
