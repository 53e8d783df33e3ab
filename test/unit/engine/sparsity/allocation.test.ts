import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values, Node, Value } from '../../../../services/engine/ir/index.js';
import { channelLayout, matrixLayout } from '../../../../services/engine/layers/channel-layout.js';
import { type AllocatedWeight, allocate } from '../../../../services/engine/sparsity/allocation.js';
import { weightForm } from '../../../../services/engine/sparsity/pattern-rows.js';
import { noise } from '../quantization/method-fixtures.js';

const node = (opType: string): Node => new Node({ opType, inputs: [], outputs: [new Value('y')] });

function matrix(rows: number, depth: number, { seed, size = 1 }: { seed: number; size?: number }): AllocatedWeight {
  const dims = [rows, depth];
  return {
    values: float32Values(noise(dims, seed, size)),
    form: weightForm(node('Gemm'), dims, matrixLayout(1, dims)),
    pattern: { kind: 'unstructured' },
  };
}

function convolution(dims: readonly number[], seed: number): AllocatedWeight {
  return {
    values: float32Values(noise(dims, seed)),
    form: weightForm(node('Conv'), dims, channelLayout(node('Conv'), dims)),
    pattern: { kind: 'unstructured' },
  };
}

function zerosOf(weights: readonly AllocatedWeight[], shares: readonly number[]): number[] {
  return weights.map(({ values }, at) => (shares[at] ?? 0) * values.length);
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const layers = fc.array(
  fc.record({
    rows: fc.integer({ min: 1, max: 8 }),
    depth: fc.integer({ min: 1, max: 20 }),
    size: fc.constantFrom(0.1, 1, 4),
    seed: fc.nat(999),
  }),
  { minLength: 1, maxLength: 5 },
);

describe('allocate', () => {
  it('uniform gives each layer the fraction', () => {
    expect(allocate([matrix(2, 3, { seed: 1 }), matrix(4, 4, { seed: 2 })], { fraction: 0.7, allocation: 'uniform' })).toEqual([0.7, 0.7]);
  });

  it('global makes the smallest magnitudes of all layers zero, as long as each keeps its largest', () => {
    fc.assert(
      fc.property(layers, fc.double({ min: 0, max: 0.9, noNaN: true }), (given, fraction) => {
        const weights = given.map(({ rows, depth, ...how }) => matrix(rows, depth, how));
        const zeros = zerosOf(weights, allocate(weights, { fraction, allocation: 'global' }));
        const protectedCount = (count: number): number => Math.ceil(0.01 * count);
        const candidates = weights.flatMap(({ values }, layer) => {
          const ascending = [...values].map(Math.abs).sort((a, b) => a - b);
          return ascending.slice(0, ascending.length - protectedCount(ascending.length)).map((magnitude) => ({ magnitude, layer }));
        });
        const wanted = Math.round(fraction * sum(weights.map(({ values }) => values.length)));
        fc.pre(wanted <= candidates.length);
        candidates.sort((a, b) => a.magnitude - b.magnitude || a.layer - b.layer);
        const expected = weights.map((_, layer) => candidates.slice(0, wanted).filter((each) => each.layer === layer).length);
        expect(zeros.map(Math.round)).toEqual(expected);
      }),
    );
  });

  it('lamp compares w^2 / sum of the squares that are not smaller, and never empties a layer', () => {
    fc.assert(
      fc.property(layers, fc.double({ min: 0, max: 0.9, noNaN: true }), (given, fraction) => {
        const weights = given.map(({ rows, depth, ...how }) => matrix(rows, depth, how));
        const scores = weights.flatMap(({ values }, layer) =>
          [...values].map((value) => {
            const rest = sum([...values].filter((other) => Math.abs(other) >= Math.abs(value)).map((other) => other ** 2));
            return { score: value ** 2 / rest, layer };
          }),
        );
        const wanted = Math.round(fraction * scores.length);
        fc.pre(wanted <= scores.length - weights.length);
        const zeros = zerosOf(weights, allocate(weights, { fraction, allocation: 'lamp' }));
        const limit = scores.map(({ score }) => score).sort((a, b) => a - b)[wanted - 1] ?? -1;
        expect(Math.round(sum(zeros))).toBe(wanted);
        for (const [layer, count] of zeros.entries()) {
          const own = scores.filter((each) => each.layer === layer);
          expect(Math.round(count)).toBeLessThan(own.length);
          // Scores are compared as float32: those beside the limit may go either way.
          expect(Math.round(count)).toBeGreaterThanOrEqual(own.filter(({ score }) => score < limit * (1 - 1e-6)).length);
          expect(Math.round(count)).toBeLessThanOrEqual(own.filter(({ score }) => score <= limit * (1 + 1e-6)).length);
        }
      }),
    );
  });

  it('erk leaves small layers dense, gives the others densities by their shapes, and keeps the whole to the fraction', () => {
    const weights = [
      convolution([16, 1, 3, 3], 1),
      convolution([64, 32, 3, 3], 2),
      convolution([64, 64, 3, 3], 3),
      matrix(10, 64, { seed: 4 }),
    ];
    const shares = allocate(weights, { fraction: 0.9, allocation: 'erk' });
    expect(sum(zerosOf(weights, shares))).toBeCloseTo(0.9 * sum(weights.map(({ values }) => values.length)), 6);
    expect(shares[0]).toBe(0);
    expect(shares[3]).toBe(0);
    const raw = [(64 + 32 + 6) / (64 * 32 * 9), (64 + 64 + 6) / (64 * 64 * 9)];
    expect((1 - (shares[1] ?? 0)) / (1 - (shares[2] ?? 0))).toBeCloseTo((raw[0] ?? 0) / (raw[1] ?? 1), 9);
  });

  it('keeps a block by the energy of all its weights', () => {
    const form = weightForm(node('Gemm'), [1, 4], matrixLayout(1, [1, 4]));
    const block = { form, pattern: { kind: 'block', rows: 1, columns: 2 } } as const;
    const weights = [
      { ...block, values: Float32Array.of(0.5, 0.5, 0.1, 0.1) },
      { ...block, values: Float32Array.of(0.6, 0, 0.9, 0.9) },
    ];
    expect(allocate(weights, { fraction: 0.5, allocation: 'global' })).toEqual([0.5, 0.5]);
  });
});
