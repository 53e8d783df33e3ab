/** How many candidates are repaired to be compared: bounded by what the repairs multiply. */
import { expect, test } from 'vitest';
import { affordableRepairs } from '../../../../../services/engine/pruning/reconstruction/repaired-errors.js';

const layer = { rows: 100, depth: 10, groups: 1 };
const layers = Array.from({ length: 10 }, () => layer);

test('a small network: several, on samples that leave as many to judge by', () => {
  expect(affordableRepairs({ macs: 1e6, layers }, 1000)).toEqual({ candidates: 8, samples: 256 });
  expect(affordableRepairs({ macs: 1e6, layers }, 100)).toEqual({ candidates: 8, samples: 50 });
});

test('the work is bounded whatever the size: first fewer samples, then fewer candidates, then none', () => {
  const work = (macs: number): number => {
    const { candidates, samples } = affordableRepairs({ macs, layers }, 1000) ?? { candidates: 0, samples: 0 };
    return candidates * samples * macs;
  };
  expect(Math.max(...[1e5, 1e6, 1e7, 1e8, 1e9].map(work))).toBeLessThanOrEqual(1.5e10);
  expect(affordableRepairs({ macs: 2e7, layers }, 1000)).toEqual({ candidates: 8, samples: 93 });
  expect(affordableRepairs({ macs: 6e7, layers }, 1000)).toEqual({ candidates: 3, samples: 64 });
  expect(affordableRepairs({ macs: 1e9, layers }, 1000)).toBeUndefined();
});

test('a wide layer costs its solution, however few the multiply-accumulates', () => {
  const of = (depth: number) => affordableRepairs({ macs: 1e6, layers: [...layers, { rows: 1, depth, groups: 1 }] }, 1000)?.candidates;
  expect(of(500)).toBe(8);
  expect(of(2000)).toBe(3);
  expect(of(3200)).toBeUndefined();
});

test('a single sample leaves none to judge by', () => {
  expect(affordableRepairs({ macs: 1, layers: [layer] }, 1)).toBeUndefined();
});
