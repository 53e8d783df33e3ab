/** Repair of each kind of layer: its network comes closer to the original on samples that were not seen. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, cloneModel, float32Tensor, type Model, type Value } from '../../../../../services/engine/ir/index.js';
import { removedUnits } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { removalOrders } from '../../../../../services/engine/pruning/importance/removal-orders.js';
import { repairLayers } from '../../../../../services/engine/pruning/reconstruction/repair-layers.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import { removeUnits } from '../../../../../services/engine/pruning/structure/remove-units.js';
import { observeShapes } from '../../../../../services/engine/runtime/observe-shapes.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, runtime } from '../../quantization/method-fixtures.js';
import { samplesOf } from '../../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const context = contextFor('measured');
const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
const size = 6;

interface Case {
  readonly build: (builder: ModelBuilder) => Value;
  /** Of one sample. */
  readonly dims: readonly number[];
  /** Operators with a line that says they were refitted. */
  readonly refitted: readonly string[];
}

/** A vector around 1, as scales are. */
const around = (channels: number, seed: number, center = 1) =>
  float32Tensor(
    [channels],
    Float32Array.from({ length: channels }, (_, at) => center + 0.4 * Math.sin(seed + at)),
  );

const image = (builder: ModelBuilder): Value => builder.input('x', ['n', 3, size, size]);
const conv = (b: ModelBuilder, x: Value, dims: readonly number[], attributes = {}): Value =>
  b.node('Conv', [x, b.constant(`w${b.graph.nodes.length}`, noise(dims, b.graph.nodes.length + 1, 0.6))], attributes);

const cases: Readonly<Record<string, Case>> = {
  'depthwise convolution': {
    build: (b) => {
      const first = b.node('Relu', [conv(b, image(b), [12, 3, 1, 1])]);
      const depthwise = conv(b, b.node('Relu', [conv(b, first, [9, 12, 1, 1])]), [9, 1, 3, 3], { ...pads, group: attributeOf.int(9) });
      return conv(b, b.node('Relu', [depthwise]), [2, 9, 1, 1]);
    },
    dims: [3, size, size],
    refitted: ['Conv'],
  },
  'grouped convolution': {
    build: (b) => {
      const first = b.node('Relu', [conv(b, image(b), [12, 3, 1, 1])]);
      const grouped = conv(b, first, [8, 6, 3, 3], { ...pads, group: attributeOf.int(2) });
      return conv(b, b.node('Relu', [grouped]), [2, 8, 1, 1]);
    },
    dims: [3, size, size],
    refitted: ['Conv'],
  },
  'transposed convolution': {
    build: (b) => {
      const first = b.node('Relu', [conv(b, image(b), [12, 3, 3, 3], pads)]);
      const wide = b.node('ConvTranspose', [first, b.constant('up', noise([12, 2, 2, 2], 5))], { strides: attributeOf.ints([2, 2]) });
      return wide;
    },
    dims: [3, size, size],
    refitted: ['ConvTranspose'],
  },
  'BatchNormalization before its activation': {
    build: (b) => {
      const first = conv(b, image(b), [12, 3, 3, 3], pads);
      const second = conv(b, b.node('Relu', [first]), [8, 12, 1, 1]);
      const [scale, shift, mean, variance] = [around(8, 1), around(8, 2, 0), around(8, 3, 0), around(8, 4)];
      const normalized = b.node('BatchNormalization', [
        second,
        b.constant('scale', scale),
        b.constant('shift', shift),
        b.constant('mean', mean),
        b.constant('variance', variance),
      ]);
      return conv(b, b.node('Relu', [normalized]), [2, 8, 1, 1]);
    },
    dims: [3, size, size],
    refitted: ['BatchNormalization', 'Conv'],
  },
  'MatMul and LayerNormalization': {
    build: (b) => {
      const x = b.input('x', ['n', 5, 4]);
      const wide = b.node('Relu', [b.node('MatMul', [x, b.constant('wide', noise([4, 12], 1))])]);
      const narrow = b.node('MatMul', [wide, b.constant('narrow', noise([12, 6], 2))]);
      const sum = b.node('Add', [narrow, b.node('MatMul', [x, b.constant('skip', noise([4, 6], 3))])]);
      const normalized = b.node('LayerNormalization', [sum, b.constant('scale', around(6, 1)), b.constant('shift', around(6, 2, 0))]);
      return b.node('MatMul', [normalized, b.constant('head', noise([6, 3], 4))]);
    },
    dims: [5, 4],
    refitted: ['MatMul', 'LayerNormalization'],
  },
  LSTM: {
    build: (b) => {
      const x = b.input('x', ['n', 5, 4]);
      const features = b.node('Relu', [b.node('MatMul', [x, b.constant('features', noise([4, 12], 1))])]);
      const steps = b.node('Transpose', [features], { perm: attributeOf.ints([1, 0, 2]) });
      const states = b.node('LSTM', [steps, b.constant('W', noise([1, 24, 12], 2)), b.constant('R', noise([1, 24, 6], 3, 0.5))], {
        hidden_size: attributeOf.int(6),
      });
      const flat = b.node('Squeeze', [states, b.constant('axes', { ...squeezed })]);
      return b.node('Transpose', [b.node('MatMul', [flat, b.constant('head', noise([6, 3], 4))])], { perm: attributeOf.ints([1, 0, 2]) });
    },
    dims: [5, 4],
    refitted: ['LSTM'],
  },
};

const squeezed = (() => {
  const bytes = new Uint8Array(BigInt64Array.of(1n).buffer);
  return { dataType: 'int64', dims: [1], data: { byteLength: 8, read: () => bytes, chunks: () => [bytes] } } as const;
})();

async function relativeError(model: Model, other: Model, dims: readonly number[]): Promise<number> {
  const x = noise([24, ...dims], 99);
  const [expected = new Float32Array()] = await outputsOf(model, { x });
  const [actual = new Float32Array()] = await outputsOf(other, { x });
  const [error, power] = expected.reduce(([e, p], value, at) => [e + (value - (actual[at] ?? 0)) ** 2, p + value ** 2], [0, 0] as [
    number,
    number,
  ]);
  return Math.sqrt(error / power);
}

describe('repair', () => {
  it.each(Object.keys(cases))('of a network with %s', async (name) => {
    const { build, dims, refitted } = cases[name] ?? { build: image, dims: [], refitted: [] };
    const builder = new ModelBuilder({ opset: 17 });
    const { model } = builder.output(build(builder));
    const { shapes } = await observeShapes(runtime, { model, feeds: new Map([['x', noise([1, ...dims], 1)]]) });
    const structure = analyzeStructure(model, shapes);
    const samples = samplesOf('x', noise([192, ...dims], 7));
    const groups = structure.groups.filter(({ approximate }) => approximate === undefined);
    const { orders } = await removalOrders({ model, groups, options: { criterion: 'l2' } }, context);
    const units = orders.flatMap((order) =>
      removedUnits(order, Math.floor(order.steps.length / 3)).flatMap((at) => order.group.units[at] ?? []),
    );
    const pruned = cloneModel(model);
    const { survivors } = removeUnits(pruned, structure, units);
    const before = await relativeError(model, pruned, dims);
    const { nodes, error } = await repairLayers({ original: model, pruned, survivors, samples }, context);
    expect(before).toBeGreaterThan(0.01);
    expect(await relativeError(model, pruned, dims)).toBeLessThan(0.97 * before);
    expect(error.after).toBeLessThan(error.before);
    const changed = nodes.filter(({ action }) => action === 'changed').map(({ op_type }) => op_type);
    expect(changed).toEqual(expect.arrayContaining([...refitted]));
  });
});
