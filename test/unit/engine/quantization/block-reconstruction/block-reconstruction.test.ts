/** Block reconstruction: blocks are found, variables begin at the codes that they are given, and no block ends farther from the float network. */
import { afterAll, describe, expect, test } from 'vitest';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  type Model,
  type Node,
  type Value,
} from '../../../../../services/engine/ir/index.js';
import { channelLayout } from '../../../../../services/engine/layers/channel-layout.js';
import { type Constant, WeightStore } from '../../../../../services/engine/layers/weight-store.js';
import { reconstructionBlocks } from '../../../../../services/engine/quantization/block-reconstruction/blocks.js';
import { reconstructBlocks } from '../../../../../services/engine/quantization/block-reconstruction/index.js';
import { hardCodes, softRounding } from '../../../../../services/engine/quantization/block-reconstruction/soft-rounding.js';
import { weightOnly } from '../../../../../services/engine/quantization/weight-only/weight-only.js';
import { codeLimits } from '../../../../../services/engine/quantization/weight-storage/index.js';
import { RoundedCopy } from '../../../../../services/engine/quantization/weight-storage/rounded-copy.js';
import type { SequentialLayer, SequentialResult } from '../../../../../services/engine/quantization/weight-storage/sequential-layer.js';
import { roundSequentially } from '../../../../../services/engine/quantization/weight-storage/sequential-rounding.js';
import { learningContext, sourceOf } from '../../training/training-fixtures.js';
import { ModelBuilder, noise, outputsOf, removeScratch } from '../method-fixtures.js';

afterAll(removeScratch);

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** A stem, a residual block of two convolutions, one more convolution, a head; `between` stands behind the second one. */
function network(between?: (builder: ModelBuilder, value: Value) => Value): Model {
  const builder = new ModelBuilder();
  const conv = (from: Value, at: number, outputs: number, inputs: number): Value =>
    builder.node(
      'Conv',
      [
        from,
        builder.constant(`w${at}`, noise([outputs, inputs, 3, 3], at, 0.4)),
        builder.constant(`b${at}`, noise([outputs], at + 10, 0.1)),
      ],
      pads,
    );
  const relu = (value: Value): Value => builder.node('Relu', [value]);
  const stem = relu(conv(builder.input('x', ['n', 3, 5, 5]), 1, 8, 3));
  const inner = conv(relu(conv(stem, 2, 8, 8)), 3, 8, 8);
  const sum = relu(builder.node('Add', [between ? between(builder, inner) : inner, stem]));
  const behind = relu(conv(sum, 4, 8, 8));
  return builder.output(conv(behind, 5, 4, 8), ['n', 4, 5, 5]).model;
}

function layersOf(model: Model, bits: 2 | 3): SequentialLayer[] {
  const store = new WeightStore(model);
  return model.graph.nodes.flatMap((node) => {
    const weight = node.opType === 'Conv' ? store.constant(node.inputs[1]) : undefined;
    return weight && ['w2', 'w3', 'w4'].includes(weight.value.name)
      ? [{ node, weight, layout: channelLayout(node, weight.tensor.dims), bits }]
      : [];
  });
}

const images = noise([64, 3, 5, 5], 77);
const source = sourceOf({ input: 'x', dims: [3, 5, 5], values: float32Values(images) });
const context = learningContext(source);

/** Sum of squared differences of the named values of the float network and of the one with these codes. */
async function errors(
  model: Model,
  layers: readonly SequentialLayer[],
  results: ReadonlyMap<Node, SequentialResult>,
  names: readonly string[],
) {
  const copy = new RoundedCopy(model);
  for (const layer of layers) {
    const result = results.get(layer.node) as SequentialResult;
    copy.setCodes(layer, result);
    if (result.biasShift) copy.shiftBias(layer, result.biasShift);
  }
  const [before, after] = [model, copy.model].map((each) => {
    const seen = cloneModel(each);
    const values = new Map(seen.graph.nodes.flatMap((node) => node.outputs).map((value) => [value?.name, value]));
    seen.graph.outputs.splice(0, 1, ...names.map((name) => values.get(name) as Value));
    return seen;
  });
  const [expected, found] = [await outputsOf(before as Model, { x: images }), await outputsOf(after as Model, { x: images })];
  return expected.map((values, at) => values.reduce((sum, value, place) => sum + (value - (found[at]?.[place] ?? Number.NaN)) ** 2, 0));
}

describe('blocks', () => {
  test('are residual blocks where there are some, each with what follows up to the next layer', () => {
    const model = network();
    const blocks = reconstructionBlocks(model.graph, layersOf(model, 2));
    expect(blocks.map(({ layers }) => layers.map(({ weight }) => weight.value.name))).toEqual([['w2', 'w3'], ['w4']]);
    expect(blocks.map(({ nodes }) => nodes.map(({ opType }) => opType))).toEqual([
      ['Conv', 'Relu', 'Conv', 'Add', 'Relu'],
      ['Conv', 'Relu'],
    ]);
    for (const { inputs, outputs } of blocks) expect([inputs.length, outputs.length]).toEqual([1, 1]);
  });

  test('are single layers, with all that crosses their borders, where many values live at once', () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 4, 4, 4]);
    const stages = [builder.node('Relu', [x])];
    for (let at = 0; at < 10; at += 1) {
      const conv = builder.node('Conv', [stages.at(-1) as Value, builder.constant(`w${at}`, noise([4, 4, 1, 1], at))]);
      stages.push(builder.node('Relu', [conv]));
    }
    const { model } = builder.output(builder.node('Sum', stages));
    const store = new WeightStore(model);
    const layers = model.graph.nodes.flatMap((node) => {
      const weight = node.opType === 'Conv' ? (store.constant(node.inputs[1]) as Constant) : undefined;
      return weight ? [{ node, weight, layout: channelLayout(node, weight.tensor.dims), bits: 2 as const }] : [];
    });
    const blocks = reconstructionBlocks(model.graph, layers);
    expect(blocks.map(({ layers: own }) => own.length)).toEqual(Array(10).fill(1));
    expect(blocks.at(-1)?.nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu', 'Sum']);
    expect(blocks.at(-1)?.inputs).toHaveLength(10);
  });
});

describe('rounding variables', () => {
  test.each([2, 3])('of %d bits begin at the given codes, whatever the weights are, and end at one of two neighbours', (bits) => {
    const model = network();
    const [layer] = layersOf(model, 2);
    const limits = codeLimits(bits);
    const scales = Float32Array.from({ length: 8 }, (_, at) => (at % 2 === 0 ? 0.11 : -0.17));
    const codes = Int32Array.from({ length: 8 * 72 }, (_, at) => limits.low + ((at * 7) % (limits.high - limits.low + 1)));
    const { base, variables } = softRounding({
      constant: (layer as SequentialLayer).weight,
      layout: (layer as SequentialLayer).layout,
      limits,
      codes,
      scales,
    });
    expect([...hardCodes({ base, variables })]).toEqual([...codes]);
    const flipped = hardCodes({ base, variables: variables.map((value) => -value) });
    for (const [at, code] of flipped.entries()) {
      expect(Math.abs(code - (codes[at] ?? 0))).toBe(1);
      expect(code).toBeGreaterThanOrEqual(limits.low);
      expect(code).toBeLessThanOrEqual(limits.high);
    }
  });
});

describe('reconstruction', () => {
  test('every block comes nearer to the float network than GPTQ left it, on the same inputs and at the output', async () => {
    const model = network();
    const layers = layersOf(model, 2);
    const start = await roundSequentially({ model, layers, algorithm: 'gptq', samples: source, context });
    const found = await reconstructBlocks({ model, layers, start, samples: source, context, options: { steps: 200 } });
    const names = [model.graph.nodes[6]?.outputs[0]?.name ?? '', model.graph.outputs[0]?.name ?? ''];
    const [before, after] = [await errors(model, layers, start, names), await errors(model, layers, found, names)];
    expect(after[0]).toBeLessThan(0.95 * (before[0] ?? 0));
    expect(after[1]).toBeLessThan(before[1] ?? 0);
    const blockErrors = [...found.values()].map(({ blockError }) => blockError);
    expect(blockErrors[0]).toBeCloseTo((after[0] ?? 0) / (before[0] ?? 1), 3);
    for (const result of found.values()) expect(result.codes.every((code) => code >= -2 && code <= 1)).toBe(true);
  });

  test('a block that does not come nearer keeps the codes that it started from', async () => {
    const model = network();
    const layers = layersOf(model, 3);
    const start = await roundSequentially({ model, layers, algorithm: 'gptq', samples: source, context });
    const found = await reconstructBlocks({ model, layers, start, samples: source, context, options: { steps: 2, learningRate: 50 } });
    for (const [node, result] of start) expect(found.get(node)).toEqual(result);
  });

  test('a block that no gradient passes keeps its codes; the others are reconstructed', async () => {
    const halves = (builder: ModelBuilder, value: Value): Value =>
      builder.node('Mod', [value, builder.constant('divisor', float32Tensor([1], [1e6]))], { fmod: attributeOf.int(1) });
    const model = network(halves);
    const layers = layersOf(model, 2);
    const start = await roundSequentially({ model, layers, algorithm: 'gptq', samples: source, context });
    const found = await reconstructBlocks({ model, layers, start, samples: source, context, options: { steps: 100 } });
    const [second, third, fourth] = layers.map(({ node }) => node) as [Node, Node, Node];
    expect([found.get(second), found.get(third)]).toEqual([start.get(second), start.get(third)]);
    expect(found.get(fourth)?.blockError).toBeLessThan(1);
  });

  test('as an algorithm of weight-only the artifact says what the blocks came to', async () => {
    const model = network();
    const { nodes } = await weightOnly(model, { algorithm: 'block-reconstruction', conv_bits: 2 }, learningContext(source));
    expect(nodes.filter(({ reason }) => reason.includes('times what gptq left'))).toHaveLength(3);
    const { calibration: _, ...without } = context;
    await expect(weightOnly(network(), { algorithm: 'block-reconstruction', conv_bits: 2 }, without)).rejects.toThrow(
      'needs calibration samples',
    );
  });
});
