/** What is chosen by itself: widths, ranges, the head, the samples. */
import { describe, expect, test } from 'vitest';
import { type AllocatedTensor, allocateBits } from '../../../../services/engine/distribution-aware/bit-allocation.js';
import { HeadFit } from '../../../../services/engine/distribution-aware/head-fit.js';
import { codesOf } from '../../../../services/engine/distribution-aware/point-form.js';
import { leastErrorRange } from '../../../../services/engine/distribution-aware/range-choice.js';
import { spreadSamples } from '../../../../services/engine/distribution-aware/spread-samples.js';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { sourceOf } from '../training/training-fixtures.js';

describe('bits under a mean', () => {
  /** Costs of uniform noise: weight 4^-bits. */
  const tensor = (id: string, weight: number, elements = 100): AllocatedTensor => ({
    id,
    elements,
    distances: new Map([3, 4, 5, 6, 7, 8].map((bits) => [bits, weight * 4 ** -bits])),
  });

  test('go where they count, and keep the mean', () => {
    const bits = allocateBits([tensor('cell', 100), tensor('gates', 1, 400), tensor('context', 0.01)], 4);
    expect(bits.get('cell')).toBeGreaterThan(bits.get('gates') ?? 8);
    const spent = [...bits].reduce((sum, [id, width]) => sum + width * (id === 'gates' ? 400 : 100), 0);
    expect(spent).toBeLessThanOrEqual(4 * 600);
  });

  test('cost what the best of all allocations costs, within one step', () => {
    const tensors = [tensor('a', 40), tensor('b', 3), tensor('c', 0.2)];
    const costOf = (widths: readonly number[]): number =>
      tensors.reduce((sum, { distances }, at) => sum + (distances.get(widths[at] ?? 8) ?? 0), 0);
    const widths = [3, 4, 5, 6, 7, 8];
    const all = widths.flatMap((a) => widths.flatMap((b) => widths.map((c) => [a, b, c])));
    const best = Math.min(...all.filter((each) => each.reduce((x, y) => x + y) <= 15).map(costOf));
    const found = allocateBits(tensors, 5);
    expect(costOf(tensors.map(({ id }) => found.get(id) ?? 8))).toBeLessThanOrEqual(1.5 * best);
  });
});

describe('the range of a gate', () => {
  test('ends where its function is flat, and holds all of a tensor that is read as it is', () => {
    const random = pseudoRandom(5);
    const rows = Float32Array.from({ length: 4000 }, (_, at) => (at % 40 === 0 ? 30 : 1.5 * random.normal()));
    const observed = { rows, low: Float32Array.of(-6), high: Float32Array.of(30) };
    const base = { id: 'x', role: 'gates', channels: 1 } as const;
    const gate = leastErrorRange({ ...base, readThrough: () => 'sigmoid' }, observed, 4);
    expect(gate.high[0]).toBeLessThan(10);
    expect(leastErrorRange(base, observed, 8).high[0]).toBeGreaterThan(28);
  });

  test('has a code for 0 whatever its ends are', () => {
    const { scales, zeroPoints } = codesOf({ low: Float32Array.of(0.5, -3, -1), high: Float32Array.of(2, -1, 3) }, 4);
    expect([...zeroPoints]).toEqual([0, 15, 4]);
    expect(scales[0]).toBeCloseTo(2 / 15, 6);
  });
});

describe('the head', () => {
  const random = pseudoRandom(9);
  const rows = 50;
  const features = Float32Array.from({ length: rows * 3 }, () => random.normal());
  const weights = [0.5, -1, 2, 1, 0.25, -0.5];
  const targets = Float32Array.from({ length: rows * 2 }, (_, at) => {
    const row = Math.floor(at / 2);
    const of = (k: number): number => (weights[(at % 2) * 3 + k] ?? 0) * (features[row * 3 + k] ?? 0);
    return of(0) + of(1) + of(2) + 0.75;
  });

  test('that already answers right stays as it is', () => {
    const fit = new HeadFit(3, 2);
    fit.add({ features, targets });
    const { rows: found, bias } = fit.solve(Float64Array.from(weights)) ?? { rows: [], bias: [] };
    for (const [at, weight] of weights.entries()) expect(found[at]).toBeCloseTo(weight, 5);
    for (const value of bias) expect(value).toBeCloseTo(0.75, 5);
  });

  test('that does not is moved most of the way', () => {
    const fit = new HeadFit(3, 2);
    fit.add({ features: features.slice(0, 60), targets: targets.slice(0, 40) });
    fit.add({ features: features.slice(60), targets: targets.slice(40) });
    const found = fit.solve(new Float64Array(6))?.rows ?? [];
    for (const [at, weight] of weights.entries()) expect(Math.abs((found[at] ?? 0) - weight)).toBeLessThan(0.05 * Math.abs(weight) + 0.01);
  });
});

describe('samples', () => {
  const source = sourceOf({ input: 'x', dims: [1], values: Float32Array.from({ length: 100 }, (_, at) => at) });
  const { signal } = new AbortController();

  test('lie evenly over all that there are', async () => {
    const runs = await spreadSamples(source, { count: 10, size: 4, signal });
    expect(runs.map(({ sampleCount }) => sampleCount)).toEqual([4, 4, 2]);
    const values = runs.flatMap(({ feeds }) => [...feeds.values()].flatMap((tensor) => [...float32Values(tensor)]));
    expect(values).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  });

  test('are all of them when there are few', async () => {
    const runs = await spreadSamples(source, { count: 1000, size: 64, signal });
    expect(runs.map(({ sampleCount }) => sampleCount)).toEqual([64, 36]);
  });
});
