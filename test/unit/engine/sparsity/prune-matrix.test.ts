import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attributeOf, float32Values, Node, Value } from '../../../../services/engine/ir/index.js';
import { channelLayout, matrixLayout } from '../../../../services/engine/layers/channel-layout.js';
import type { Pattern } from '../../../../services/engine/sparsity/pattern.js';
import { inputOrder, weightForm } from '../../../../services/engine/sparsity/pattern-rows.js';
import { type InputSums, pruneMatrix } from '../../../../services/engine/sparsity/prune-matrix.js';
import { noise } from '../quantization/method-fixtures.js';
import { correlatedInputs, gramOf, outputError } from './correlated-inputs.js';

const dense = (rows: number, depth: number) =>
  weightForm(new Node({ opType: 'Gemm', inputs: [], outputs: [new Value('y')] }), [rows, depth], matrixLayout(1, [rows, depth]));

function squaresOf(gram: Float64Array, depth: number): InputSums {
  return { kind: 'squares', groups: 1, values: Float64Array.from({ length: depth }, (_, k) => gram[k * depth + k] ?? 0) };
}

const patterns: readonly { readonly pattern: Pattern; readonly fraction: number }[] = [
  { pattern: { kind: 'unstructured' }, fraction: 0.5 },
  { pattern: { kind: 'unstructured' }, fraction: 0.7 },
  { pattern: { kind: 'n:m', kept: 2, group: 4 }, fraction: 1 },
  { pattern: { kind: 'block', rows: 2, columns: 2 }, fraction: 0.5 },
];

describe('Wanda', () => {
  it('makes those weights of an output zero for which |w| times the norm of the input, computed plainly, is least', () => {
    const cases = fc.record({ rows: fc.integer({ min: 1, max: 6 }), depth: fc.integer({ min: 2, max: 20 }), seed: fc.nat(9999) });
    fc.assert(
      fc.property(cases, ({ rows, depth, seed }) => {
        const inputs = correlatedInputs({ count: 30, depth, seed });
        const weights = float32Values(noise([rows, depth], seed + 1));
        const rule = { pattern: { kind: 'unstructured' } as const, fraction: Math.floor(depth / 2) / depth };
        const { values, criterion } = pruneMatrix(weights, dense(rows, depth), { rule, inputs: squaresOf(gramOf(inputs, depth), depth) });
        expect(criterion).toBe('wanda');
        for (let row = 0; row < rows; row += 1) {
          const norm = (k: number): number => Math.hypot(...Array.from({ length: 30 }, (_, sample) => inputs[sample * depth + k] ?? 0));
          const scores = Array.from({ length: depth }, (_, k) => Math.abs(weights[row * depth + k] ?? 0) * norm(k));
          const order = scores.map((_, k) => k).sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0));
          const zero = new Set(order.slice(0, Math.floor(depth / 2)));
          const expected = Array.from({ length: depth }, (_, k) => (zero.has(k) ? 0 : (weights[row * depth + k] ?? 0)));
          expect([...values.subarray(row * depth, (row + 1) * depth)]).toEqual(expected);
        }
      }),
    );
  });

  it('weighs the weights of each group of a convolution by the inputs of that group', () => {
    const node = new Node({ opType: 'Conv', inputs: [], outputs: [new Value('y')], attributes: { group: attributeOf.int(2) } });
    const form = weightForm(node, [4, 2, 1], channelLayout(node, [4, 2, 1]));
    const inputs: InputSums = { kind: 'squares', groups: 2, values: Float64Array.of(100, 1, 1, 100) };
    const { values } = pruneMatrix(Float32Array.of(1, 2, 1, 2, 2, 1, 2, 1), form, {
      rule: { pattern: { kind: 'unstructured' }, fraction: 0.5 },
      inputs,
    });
    expect([...values]).toEqual([1, 0, 1, 0, 0, 1, 0, 1]);
  });
});

describe('the three criteria on inputs that hang together', () => {
  it.each(patterns)('leave the less error in the outputs the more they know: $pattern.kind, $fraction', ({ pattern, fraction }) => {
    const [rows, depth] = [16, 32];
    const total = { magnitude: 0, wanda: 0, sparsegpt: 0 };
    for (let seed = 0; seed < 12; seed += 1) {
      const inputs = correlatedInputs({ count: 200, depth, seed: 31 * seed });
      const gram = gramOf(inputs, depth);
      const weights = float32Values(noise([rows, depth], seed + 1000));
      const known: Readonly<Record<keyof typeof total, InputSums | undefined>> = {
        magnitude: undefined,
        wanda: squaresOf(gram, depth),
        sparsegpt: { kind: 'gram', groups: 1, values: gram },
      };
      const errors = { ...total };
      for (const criterion of ['magnitude', 'wanda', 'sparsegpt'] as const) {
        const result = pruneMatrix(weights, dense(rows, depth), { rule: { pattern, fraction }, inputs: known[criterion] });
        expect(result.criterion).toBe(criterion);
        errors[criterion] = outputError(inputs, weights, result.values, depth);
        total[criterion] += errors[criterion];
      }
      expect(errors.sparsegpt).toBeLessThan(Math.min(errors.wanda, errors.magnitude));
    }
    expect(total.sparsegpt).toBeLessThan(0.6 * total.wanda);
    expect(total.wanda).toBeLessThan(total.magnitude);
  });
});

describe('SparseGPT on a convolution', () => {
  it('is that on the matrix of its rows, group by group, whatever the order in which the weight lies in memory', () => {
    const [group, outputs, inputs, taps] = [2, 3, 4, 3];
    const node = new Node({ opType: 'Conv', inputs: [], outputs: [new Value('y')], attributes: { group: attributeOf.int(group) } });
    const dims = [group * outputs, inputs, taps];
    const form = weightForm(node, dims, channelLayout(node, dims));
    const depth = inputs * taps;
    const weights = float32Values(noise(dims, 5));
    const grams = [0, 1].map((at) => gramOf(correlatedInputs({ count: 60, depth, seed: at }), depth));
    const values = Float64Array.from(grams.flatMap((gram) => [...gram]));
    const order = inputOrder({ depth, inputs });
    const rule = { pattern: { kind: 'unstructured' }, fraction: 0.5 } as const;
    const result = pruneMatrix(weights, form, { rule, inputs: { kind: 'gram', groups: group, values } });
    for (const [at, gram] of grams.entries()) {
      const rows = Array.from({ length: outputs }, (_, o) => Array.from(order, (k) => weights[(at * outputs + o) * depth + k] ?? 0));
      const permuted = Float64Array.from(Array.from(order, (i) => Array.from(order, (j) => gram[i * depth + j] ?? 0)).flat());
      const plain = pruneMatrix(rows.flat(), dense(outputs, depth), { rule, inputs: { kind: 'gram', groups: 1, values: permuted } });
      for (let o = 0; o < outputs; o += 1) {
        const own = Array.from(order, (k) => result.values[(at * outputs + o) * depth + k] ?? 0);
        expect(own).toEqual([...plain.values.subarray(o * depth, (o + 1) * depth)]);
      }
    }
  });

  it('has as many zeros over all groups as the fraction says, rounded once', () => {
    const node = new Node({ opType: 'Conv', inputs: [], outputs: [new Value('y')], attributes: { group: attributeOf.int(5) } });
    const form = weightForm(node, [5, 3, 3], channelLayout(node, [5, 3, 3]));
    const values = Float64Array.from([0, 1, 2, 3, 4].flatMap((seed) => [...gramOf(correlatedInputs({ count: 30, depth: 9, seed }), 9)]));
    for (const fraction of [0.1, 0.5, 0.72]) {
      const rule = { pattern: { kind: 'unstructured' }, fraction } as const;
      const { values: pruned } = pruneMatrix(float32Values(noise([5, 3, 3], 6)), form, {
        rule,
        inputs: { kind: 'gram', groups: 5, values },
      });
      expect(pruned.filter((value) => value === 0).length).toBe(Math.round(fraction * 45));
    }
  });
});

describe('weights too small to matter', () => {
  it('become zero when they are denormal', () => {
    const weights = Float32Array.of(1, 1e-39, -2e-45, 2 ** -126, -3);
    const { values } = pruneMatrix(weights, dense(1, 5), { rule: { pattern: { kind: 'unstructured' }, fraction: 0 }, inputs: undefined });
    expect([...values]).toEqual([1, 0, 0, 2 ** -126, -3]);
  });
});
