/** SmoothQuant computes the same function; its divisions cost nothing where the nodes before can take them. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  int64Tensor,
  type Model,
  type Value,
} from '../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import { smoothLayers } from '../../../../services/engine/quantization/smooth-quant.js';
import type { ChannelStatistics } from '../../../../services/engine/timing/observed-activations.js';
import { ModelBuilder, noise, operators, outputsOf, removeScratch } from './method-fixtures.js';

afterAll(removeScratch);

/** Values to +-1, but for every fourth channel, which reaches `outlier`. */
function withOutliers(depth: number, outlier = 60): ChannelStatistics {
  const reach = Float32Array.from({ length: depth }, (_, k) => (k % 4 === 0 ? outlier : 1));
  return { low: reach.map((value) => -value), high: reach, power: Float64Array.from(reach, (value) => (value / 3) ** 2) };
}

async function smoothed(b: ModelBuilder, values: readonly (readonly [Value, number])[], feeds: Parameters<typeof outputsOf>[1]) {
  const after: Model = cloneModel(b.model);
  const statistics = new Map(values.map(([{ name }, depth]) => [name, withOutliers(depth)] as const));
  const { changes } = smoothLayers(after, statistics);
  verifyModel(after);
  const expected = await outputsOf(b.model, feeds);
  const actual = await outputsOf(after, feeds);
  for (const [at, outputs] of expected.entries()) {
    const largest = outputs.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (const [i, value] of outputs.entries())
      expect(Math.abs(value - (actual[at]?.[i] ?? Number.NaN))).toBeLessThan(2e-5 * largest + 1e-7);
  }
  return { after, changes };
}

const product = (b: ModelBuilder, x: Value, [depth, width]: readonly [number, number], seed: number): Value =>
  b.node('Add', [
    b.node('MatMul', [x, b.constant(`w${seed}`, noise([depth, width], seed))]),
    b.constant(`b${seed}`, noise([width], seed + 50)),
  ]);

/** Rows of the weights that the readers of outlier channels have: larger by the factors. */
function rowSizes(model: Model, name: string, columns: number): number[] {
  const found = [...model.graph.initializers].find(([value]) => value.name.startsWith(name));
  const values = found ? float32Values(found[1]) : new Float32Array();
  return Array.from({ length: values.length / columns }, (_, row) =>
    Math.max(...values.slice(row * columns, (row + 1) * columns).map(Math.abs)),
  );
}

describe('divisions at no cost', () => {
  test('LayerNormalization takes the division for all products that read it, with one vector', async () => {
    const b = new ModelBuilder();
    const normal = b.node('LayerNormalization', [b.input('x', [2, 3, 8]), b.constant('g', noise([8], 1)), b.constant('h', noise([8], 2))]);
    for (const seed of [3, 4, 5]) b.output(product(b, normal, [8, 6], seed));
    const { after, changes } = await smoothed(b, [[normal, 8]], { x: noise([2, 3, 8], 9) });
    expect(operators(after)).toEqual(operators(b.model));
    expect(changes.map(({ op_type, action }) => `${op_type} ${action}`)).toEqual(['MatMul changed', 'MatMul changed', 'MatMul changed']);
    expect(changes[0]?.reason).toMatch(
      /^outlier channels of "LayerNormalization_0_out" moved into its weight .*; the constants of what makes it are divided by them$/,
    );
    const before = rowSizes(b.model, 'w3', 6);
    const growth = rowSizes(after, 'w3', 6).map((size, row) => size / (before[row] ?? 1));
    for (const [row, factor] of growth.entries()) if (row % 4 !== 0) expect(growth[0]).toBeGreaterThan(2 * factor);
  });

  test('the decomposed normalization takes it in its Mul and its Add', async () => {
    const b = new ModelBuilder();
    const x = b.input('x', [2, 8]);
    const centred = b.node('Sub', [x, b.node('ReduceMean', [x], { axes: attributeOf.ints([-1]) })]);
    const scaled = b.node('Add', [b.node('Mul', [centred, b.constant('g', noise([8], 1))]), b.constant('h', noise([8], 2))]);
    b.output(product(b, scaled, [8, 6], 3));
    const { after, changes } = await smoothed(b, [[scaled, 8]], { x: noise([2, 8], 9) });
    expect(operators(after)).toEqual(operators(b.model));
    expect(changes).toHaveLength(1);
  });

  test('a product takes it across Relu', async () => {
    const b = new ModelBuilder();
    const hidden = b.node('Relu', [product(b, b.input('x', [2, 6]), [6, 8], 1)]);
    b.output(product(b, hidden, [8, 4], 2));
    const { after, changes } = await smoothed(b, [[hidden, 8]], { x: noise([2, 6], 9) });
    expect(operators(after)).toEqual(operators(b.model));
    expect(changes).toHaveLength(1);
  });

  test('one factor of a gated product takes it', async () => {
    const b = new ModelBuilder();
    const x = b.input('x', [2, 6]);
    const gate = product(b, x, [6, 8], 1);
    const gated = b.node('Mul', [b.node('Mul', [gate, b.node('Sigmoid', [gate])]), product(b, x, [6, 8], 2)]);
    b.output(product(b, gated, [8, 4], 3));
    const { after, changes } = await smoothed(b, [[gated, 8]], { x: noise([2, 6], 9) });
    expect(operators(after)).toEqual(operators(b.model));
    expect(changes).toHaveLength(1);
  });

  test.each(['numbers', 'sizes of the input'] as const)(
    'the projection of the values takes it across the heads, split by %s',
    async (form) => {
      const b = new ModelBuilder();
      const x = b.input('x', ['batch', 'length', 8]);
      const dims = b.node('Shape', [x], { end: attributeOf.int(2) });
      const split = b.constant('split', int64Tensor([2], [2, 4]));
      const whole = b.constant('whole', int64Tensor([1], [-1]));
      const apart =
        form === 'numbers'
          ? b.constant('apart', int64Tensor([4], [0, 0, 2, 4]))
          : b.node('Concat', [dims, split], { axis: attributeOf.int(0) });
      const together =
        form === 'numbers'
          ? b.constant('together', int64Tensor([3], [0, 0, 8]))
          : b.node('Concat', [dims, whole], { axis: attributeOf.int(0) });
      const heads = (seed: number, perm: readonly number[]) =>
        b.node('Transpose', [b.node('Reshape', [product(b, x, [8, 8], seed), apart])], { perm: attributeOf.ints(perm) });
      const weights = b.node('Softmax', [b.node('MatMul', [heads(1, [0, 2, 1, 3]), heads(2, [0, 2, 3, 1])])]);
      const mixed = b.node('Transpose', [b.node('MatMul', [weights, heads(3, [0, 2, 1, 3])])], { perm: attributeOf.ints([0, 2, 1, 3]) });
      const merged = b.node('Reshape', [mixed, together]);
      b.output(product(b, merged, [8, 8], 4));
      const { after, changes } = await smoothed(b, [[merged, 8]], { x: noise([2, 5, 8], 9) });
      expect(operators(after)).toEqual(operators(b.model));
      expect(changes).toHaveLength(1);
    },
  );
});

describe('divisions that cost', () => {
  /** The normalized value is also added to the result, as in BERT. */
  function residual(): { b: ModelBuilder; normal: Value } {
    const b = new ModelBuilder();
    const normal = b.node('LayerNormalization', [b.input('x', [2, 8]), b.constant('g', noise([8], 1))]);
    b.output(b.node('Add', [product(b, normal, [8, 8], 3), normal]));
    return { b, normal };
  }

  test('a large gain is worth a Mul', async () => {
    const { b, normal } = residual();
    const { after, changes } = await smoothed(b, [[normal, 8]], { x: noise([2, 8], 9) });
    expect(operators(after)).toEqual(['LayerNormalization', 'Mul', 'MatMul', 'Add', 'Add']);
    expect(changes.map(({ reason }) => reason).join()).toMatch(/a Mul in front of it divides by them$/);
  });

  test('a small gain is not', () => {
    const { b, normal } = residual();
    expect(smoothLayers(b.model, new Map([[normal.name, withOutliers(8, 1.5)]])).changes).toEqual([]);
    expect(operators(b.model)).not.toContain('Mul');
  });

  test('the constant of an activation is not made a vector: the runtime would not recognize GELU any more', async () => {
    const b = new ModelBuilder();
    const x = b.input('x', [2, 8]);
    const half = b.node('Mul', [b.node('Tanh', [x]), b.constant('half', float32Tensor([], [0.5]))]);
    b.output(product(b, half, [8, 8], 3));
    const { after } = await smoothed(b, [[half, 8]], { x: noise([2, 8], 9) });
    expect([...after.graph.initializers].find(([{ name }]) => name === 'half')?.[1].dims).toEqual([]);
  });
});

test('a weight that others read, and a tensor without statistics, are left alone', () => {
  const b = new ModelBuilder();
  const w = b.constant('w', noise([8, 8], 1));
  const first = b.node('Relu', [b.node('MatMul', [b.input('x', [2, 8]), w])]);
  b.output(b.node('MatMul', [first, w]));
  expect(smoothLayers(b.model, new Map([[first.name, withOutliers(8)]])).changes).toEqual([]);
  expect(smoothLayers(b.model, new Map()).changes).toEqual([]);
});

test('random chains of products, normalizations and residuals compute the same', async () => {
  const step = fc.constantFrom('product', 'norm', 'relu', 'residual', 'gate');
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
      const b = new ModelBuilder();
      let value: Value = b.input('x', [3, 8]);
      const sources: (readonly [Value, number])[] = [];
      for (const [at, kind] of steps.entries()) {
        if (kind === 'norm') value = b.node('LayerNormalization', [value, b.constant(`g${at}`, noise([8], at + 1))]);
        else if (kind === 'relu') value = b.node('Relu', [value]);
        else {
          sources.push([value, 8]);
          const made = product(b, value, [8, 8], at + 1);
          value = kind === 'product' ? made : b.node(kind === 'gate' ? 'Mul' : 'Add', [made, value]);
        }
      }
      if (!value.producer) return;
      b.output(value);
      await smoothed(b, sources, { x: noise([3, 8], 9) });
    }),
    { numRuns: 30 },
  );
});
