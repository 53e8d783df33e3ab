/** Clipping by global norm: the direction stays, the length is bounded over all parameters together. */
import { expect, test } from 'vitest';
import { clipGlobalNorm } from '../../../../services/engine/training/gradient-clipping.js';

const gradients = () =>
  new Map([
    ['a', Float32Array.of(3, 0)],
    ['b', Float32Array.of(0, 4, 12)],
  ]);

test('a gradient longer than the limit is scaled down as a whole', () => {
  const clipped = gradients();
  expect(clipGlobalNorm(clipped, 6.5)).toBe(13);
  expect(clipped.get('a')?.[0]).toBeCloseTo(1.5, 6);
  expect(clipped.get('b')?.[1]).toBeCloseTo(2, 6);
  expect(clipGlobalNorm(clipped, 100)).toBeCloseTo(6.5, 5);
});

test('a gradient within the limit keeps its bits', () => {
  const clipped = gradients();
  expect(clipGlobalNorm(clipped, 14)).toBe(13);
  expect(clipped).toEqual(gradients());
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('a gradient with %s is told by the norm and left alone', (value) => {
  const clipped = gradients().set('c', Float32Array.of(value));
  expect(Number.isFinite(clipGlobalNorm(clipped, 1))).toBe(false);
  expect(clipped).toEqual(gradients().set('c', Float32Array.of(value)));
});
