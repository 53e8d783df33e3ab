/** Cross-layer equalization computes the same function with balanced ranges, and touches nothing it must not. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type Attribute,
  attributeOf,
  cloneModel,
  elementCount,
  float32Tensor,
  float32Values,
  type Model,
  type Tensor,
  type Value,
} from '../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import { WeightStore } from '../../../../services/engine/layers/weight-store.js';
import { encodeModel } from '../../../../services/engine/onnx/index.js';
import { channelWeights } from '../../../../services/engine/quantization/channel-weights.js';
import { equalizeLayers } from '../../../../services/engine/quantization/cross-layer-equalization.js';
import { ModelBuilder, noise, outputsOf, removeScratch } from './method-fixtures.js';

afterAll(removeScratch);

const { int, float } = attributeOf;

/** Weights whose channels along `axis` differ in size by up to 10^spread. */
function uneven(dims: readonly number[], seed: number, axis: number, spread = 2): Tensor {
  const values = float32Values(noise(dims, seed)).slice();
  const inner = elementCount(dims.slice(axis + 1));
  const sizes = float32Values(noise([dims[axis] ?? 1], seed + 100));
  return float32Tensor(
    dims,
    values.map((value, at) => value * 10 ** (spread * (sizes[Math.floor(at / inner) % (dims[axis] ?? 1)] ?? 0))),
  );
}

async function expectSame(before: Model, after: Model, feeds: Record<string, Tensor>): Promise<void> {
  verifyModel(after);
  const expected = await outputsOf(before, feeds);
  const actual = await outputsOf(after, feeds);
  for (const [at, values] of expected.entries()) {
    const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    /** What is summed up is about 1; where it cancels, what is left is small, its rounding is not. */
    const tolerance = Math.max(2e-5 * largest, 1e-6);
    for (const [index, value] of values.entries()) {
      expect(Math.abs(value - (actual[at]?.[index] ?? Number.NaN))).toBeLessThanOrEqual(tolerance);
    }
  }
}

function layersOf(model: Model) {
  const store = new WeightStore(model);
  return model.graph.nodes.flatMap((node) => channelWeights(node, store) ?? []);
}

/** Largest quotient of the ranges on the two sides of the channels between the layers `at` and `at + 1`. */
function imbalance(model: Model, at: number): number {
  const layers = layersOf(model);
  const left = layers[at]?.largest('output') ?? new Float64Array();
  const right = layers[at + 1]?.largest('input') ?? new Float64Array();
  return left.reduce((worst, range, i) => Math.max(worst, range / (right[i] ?? 1), (right[i] ?? 1) / range), 0);
}

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
type Activation = (b: ModelBuilder, value: Value) => Value;
const relu: Activation = (b, value) => b.node('Relu', [value]);

function convolutions(activation: Activation): Model {
  const b = new ModelBuilder();
  const x = b.input('x', [1, 3, 6, 6]);
  const first = b.node('Conv', [x, b.constant('w1', uneven([4, 3, 3, 3], 1, 0)), b.constant('b1', noise([4], 2))], pads);
  b.output(b.node('Conv', [activation(b, first), b.constant('w2', uneven([5, 4, 3, 3], 3, 1)), b.constant('b2', noise([5], 4))]));
  return b.model;
}

const image = { x: noise([1, 3, 6, 6], 9) };

describe('pairs', () => {
  const activations: Readonly<Record<string, Activation>> = {
    nothing: (_, value) => value,
    Identity: (b, value) => b.node('Identity', [value]),
    Relu: relu,
    LeakyRelu: (b, value) => b.node('LeakyRelu', [value], { alpha: float(0.2) }),
    PRelu: (b, value) => b.node('PRelu', [value, b.constant('slope', noise([4, 1, 1], 5))]),
    'Relu and pooling': (b, value) =>
      b.node('MaxPool', [b.node('AveragePool', [relu(b, value)], { kernel_shape: attributeOf.ints([2, 2]) })], {
        kernel_shape: attributeOf.ints([2, 2]),
      }),
  };

  test.each(Object.entries(activations))('across %s are balanced and compute the same', async (_, activation) => {
    const before = convolutions(activation);
    const after = cloneModel(before);
    expect(equalizeLayers(after).map(({ op_type, action }) => [op_type, action])).toEqual([
      ['Conv', 'changed'],
      ['Conv', 'changed'],
    ]);
    expect(imbalance(before, 0)).toBeGreaterThan(3);
    expect(imbalance(after, 0)).toBeLessThan(1.01);
    await expectSame(before, after, image);
    expect(after.graph.initializers.size).toBe(before.graph.initializers.size);
  });

  test('both ranges become the geometric mean of what they were', () => {
    const before = convolutions(relu);
    const [first, second] = layersOf(before);
    const r1 = first?.largest('output') ?? [];
    const r2 = second?.largest('input') ?? [];
    const after = cloneModel(before);
    equalizeLayers(after);
    for (const [i, range] of (layersOf(after)[0]?.largest('output') ?? []).entries()) {
      expect(range).toBeCloseTo(Math.sqrt((r1[i] ?? 0) * (r2[i] ?? 0)), 5);
    }
  });

  const products: readonly [string, (b: ModelBuilder) => void][] = [
    [
      'Gemm with transB, alpha and beta, and MatMul with an Add',
      (b) => {
        const scale = { transB: int(1), alpha: float(0.5), beta: float(2) };
        const first = b.node(
          'Gemm',
          [b.input('x', [2, 6]), b.constant('w1', uneven([5, 6], 1, 0)), b.constant('b1', noise([1, 5], 2))],
          scale,
        );
        const second = b.node('Add', [
          b.node('MatMul', [relu(b, first), b.constant('w2', uneven([5, 4], 3, 0))]),
          b.constant('b2', noise([4], 4)),
        ]);
        b.output(b.node('Gemm', [relu(b, second), b.constant('w3', uneven([4, 3], 5, 0)), b.constant('b3', noise([], 6))]));
      },
    ],
    [
      'Gemm whose bias is one number for all',
      (b) => {
        const first = b.node('Gemm', [b.input('x', [2, 6]), b.constant('w1', uneven([6, 5], 1, 1)), b.constant('b1', noise([1], 2))]);
        b.output(b.node('Gemm', [relu(b, first), b.constant('w2', uneven([5, 4], 3, 0))]));
      },
    ],
  ];

  test.each(products)('%s compute the same', async (_, build) => {
    const b = new ModelBuilder();
    build(b);
    const after = cloneModel(b.model);
    expect(equalizeLayers(after).length).toBeGreaterThanOrEqual(2);
    expect(imbalance(after, 0)).toBeLessThan(1.01);
    await expectSame(b.model, after, { x: noise([2, 6], 7) });
  });

  test('grouped Conv and grouped ConvTranspose compute the same', async () => {
    const b = new ModelBuilder();
    const grouped = { group: int(2) };
    const x = b.input('x', [1, 4, 4, 4]);
    const first = relu(
      b,
      b.node('ConvTranspose', [x, b.constant('w1', uneven([4, 3, 2, 2], 1, 1)), b.constant('b1', noise([6], 2))], grouped),
    );
    const second = relu(b, b.node('Conv', [first, b.constant('w2', uneven([8, 3, 2, 2], 3, 1))], grouped));
    b.output(b.node('ConvTranspose', [second, b.constant('w3', uneven([8, 2, 2, 2], 5, 0))], grouped));
    const after = cloneModel(b.model);
    expect(equalizeLayers(after)).toHaveLength(3);
    expect(imbalance(after, 0)).toBeLessThan(1.01);
    expect(imbalance(after, 1)).toBeLessThan(1.01);
    await expectSame(b.model, after, { x: noise([1, 4, 4, 4], 8) });
  });

  test('a channel without weights keeps its factor 1, and factors are at most 100', () => {
    const b = new ModelBuilder();
    const x = b.input('x', [1, 2]);
    const first = b.node('Gemm', [
      x,
      b.constant('w1', float32Tensor([2, 3], [1e6, 0, 1, 1e6, 0, 1])),
      b.constant('b1', float32Tensor([3], [3, 3, 3])),
    ]);
    b.output(b.node('Gemm', [relu(b, first), b.constant('w2', float32Tensor([3, 1], [1e-6, 5, 1]))]));
    equalizeLayers(b.model);
    const values = [...b.graph.initializers.values()].map((tensor) => [...float32Values(tensor)]);
    expect(values).toContainEqual([1e4, 0, 1, 1e4, 0, 1]);
    expect(values).toContainEqual([Math.fround(3e-2), 3, 3]);
    expect(values).toContainEqual([Math.fround(1e-4), 5, 1]);
  });
});

test('depthwise triples share one range and compute the same', async () => {
  const b = new ModelBuilder();
  const first = relu(
    b,
    b.node('Conv', [b.input('x', [1, 3, 6, 6]), b.constant('w1', uneven([4, 3, 1, 1], 1, 0)), b.constant('b1', noise([4], 2))]),
  );
  const depthwise = b.node('Conv', [first, b.constant('wd', uneven([4, 1, 3, 3], 3, 0)), b.constant('bd', noise([4], 4))], {
    ...pads,
    group: int(4),
  });
  b.output(b.node('Conv', [relu(b, depthwise), b.constant('w3', uneven([5, 4, 1, 1], 5, 1))]));
  const ranges = (model: Model) => {
    const [one, two, three] = layersOf(model);
    return [one?.largest('output'), two?.largest('output'), three?.largest('input')].map((range) => [...(range ?? [])]);
  };
  const [r1 = [], r2 = [], r3 = []] = ranges(b.model);
  const common = r1.map((range, i) => Math.cbrt(range * (r2[i] ?? 0) * (r3[i] ?? 0)));
  const after = cloneModel(b.model);
  expect(equalizeLayers(after)).toHaveLength(3);
  for (const range of ranges(after)) for (const [i, c] of common.entries()) expect((range[i] ?? 0) / c).toBeCloseTo(1, 5);
  await expectSame(b.model, after, image);
});

describe('nothing is changed', () => {
  const barriers: readonly [string, (b: ModelBuilder, first: Value) => Value][] = [
    ['across Clip', (b, value) => b.node('Clip', [value, null, b.constant('six', float32Tensor([], [6]))])],
    ['across HardSwish', (b, value) => b.node('HardSwish', [value])],
    ['across Sigmoid', (b, value) => b.node('Sigmoid', [value])],
    [
      'at a branch',
      (b, value) => {
        b.output(b.node('Neg', [value]));
        return value;
      },
    ],
    [
      'at a graph output',
      (b, value) => {
        b.output(value);
        return value;
      },
    ],
    [
      'across a BatchNormalization that was not folded',
      (b, value) => {
        const statistics = [1, 2, 3].map((seed) => b.constant(`n${seed}`, noise([4], seed)));
        return b.node('BatchNormalization', [value, ...statistics, b.constant('v', float32Tensor([4], [1, 2, 3, 4]))]);
      },
    ],
  ];

  test.each(barriers)('%s', (_, between) => {
    const model = convolutions(between);
    const bytes = Buffer.from(encodeModel(model));
    expect(equalizeLayers(model)).toEqual([]);
    expect(bytes.equals(encodeModel(model))).toBe(true);
  });

  test('when another node reads the weight', () => {
    const b = new ModelBuilder();
    const w = b.constant('w', uneven([3, 3], 1, 1));
    const first = relu(b, b.node('MatMul', [b.input('x', [2, 3]), w]));
    b.output(b.node('MatMul', [first, w]));
    expect(equalizeLayers(b.model)).toEqual([]);
  });

  test('where pooling mixes the channels of a matrix product', () => {
    const b = new ModelBuilder();
    const first = b.node('MatMul', [b.input('x', [1, 2, 3]), b.constant('w', uneven([3, 4], 1, 1))]);
    const pooled = b.node('AveragePool', [first], { kernel_shape: attributeOf.ints([3]), pads: attributeOf.ints([1, 1]) });
    b.output(b.node('MatMul', [pooled, b.constant('v', uneven([4, 4], 2, 0))]));
    expect(equalizeLayers(b.model)).toEqual([]);
  });
});

/** Channels of tiny weights would need factors beyond their bound, and stay unbalanced for good. */
const awayFromZero = (tensor: Tensor): Tensor =>
  float32Tensor(
    tensor.dims,
    float32Values(tensor).map((value) => Math.sign(value || 1) * (0.5 + Math.min(2, Math.abs(value)))),
  );

test('random chains compute the same, and no neighbours are left unbalanced', async () => {
  const layer = fc.record({
    kind: fc.constantFrom('conv', 'depthwise', 'transposed'),
    activation: fc.constantFrom('Relu', 'LeakyRelu', 'Identity'),
    channels: fc.integer({ min: 1, max: 5 }),
    hasBias: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(layer, { minLength: 2, maxLength: 6 }), fc.integer({ min: 1, max: 1000 }), async (specs, seed) => {
      const b = new ModelBuilder();
      let value: Value = b.input('x', [1, 3, 4, 4]);
      let channels = 3;
      for (const [at, spec] of specs.entries()) {
        const next = spec.kind === 'depthwise' ? channels : spec.channels;
        const dims = spec.kind === 'conv' ? [next, channels, 1, 1] : spec.kind === 'depthwise' ? [next, 1, 1, 1] : [channels, next, 1, 1];
        const attributes: Record<string, Attribute> = spec.kind === 'depthwise' ? { group: int(channels) } : {};
        const w = b.constant(`w${at}`, awayFromZero(uneven(dims, seed + at, at % 2, 0.2)));
        const bias = spec.hasBias ? b.constant(`b${at}`, noise([next], seed + at)) : null;
        value = b.node(spec.kind === 'transposed' ? 'ConvTranspose' : 'Conv', bias ? [value, w, bias] : [value, w], attributes);
        if (at < specs.length - 1) value = b.node(spec.activation, [value]);
        channels = next;
      }
      b.output(value);
      const after = cloneModel(b.model);
      equalizeLayers(after);
      await expectSame(b.model, after, { x: noise([1, 3, 4, 4], seed) });
      for (let at = 0; at < specs.length - 1; at += 1) expect(imbalance(after, at)).toBeLessThan(1.05);
    }),
    { numRuns: 30 },
  );
});
