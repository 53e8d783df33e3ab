/** Layers left out: the network that remains is the one whose branches give zero. */
import { afterAll, describe, expect, test } from 'vitest';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  int64Tensor,
  type Model,
  type Value,
  verifyModel,
} from '../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { type LayerDroppingOptions, layerDropping } from '../../../../services/engine/pruning/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const WIDTH = 8;
const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** conv, relu, then `blocks` of relu(x + conv(relu(conv(x)))), mean and a matrix; `scales` of the branches. */
function residualNetwork(scales: readonly number[]): Model {
  const builder = new ModelBuilder();
  let seed = 0;
  const conv = (input: Value, name: string, [from, deviation]: readonly [number, number]): Value =>
    builder.node(
      'Conv',
      [
        input,
        builder.constant(`${name}.w`, noise([WIDTH, from, 3, 3], ++seed, deviation)),
        builder.constant(`${name}.b`, noise([WIDTH], ++seed, deviation)),
      ],
      pads,
    );
  let x = builder.node('Relu', [conv(builder.input('x', ['n', 3, 6, 6]), 'stem', [3, 0.3])]);
  for (const [at, scale] of scales.entries()) {
    const inner = builder.node('Relu', [conv(x, `block${at}.first`, [WIDTH, 0.2])]);
    x = builder.node('Relu', [builder.node('Add', [conv(inner, `block${at}.second`, [WIDTH, scale]), x])]);
  }
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [x])]);
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([WIDTH, 4], 5))]), ['n', 4]).model;
}

/** Encoder layers of one head with a mask; normalization before the branches, or behind the sums. */
function encoder(layers: number, isBefore: boolean): Model {
  const builder = new ModelBuilder();
  let seed = 0;
  const dense = (input: Value, name: string): Value =>
    builder.node('Add', [
      builder.node('MatMul', [input, builder.constant(`${name}.w`, noise([WIDTH, WIDTH], ++seed, 0.4))]),
      builder.constant(`${name}.b`, noise([WIDTH], ++seed, 0.2)),
    ]);
  const normal = (input: Value, name: string): Value =>
    builder.node('LayerNormalization', [
      input,
      builder.constant(`${name}.g`, noise([WIDTH], ++seed)),
      builder.constant(`${name}.s`, noise([WIDTH], ++seed)),
    ]);
  const tokens = builder.input('x', ['n', 5, WIDTH]);
  const mask = builder.node('Unsqueeze', [builder.input('mask', ['n', 5]), builder.constant('axes', int64Tensor([1], [1]))]);
  const residual = (input: Value, name: string, branch: (value: Value) => Value): Value => {
    const sum = builder.node('Add', [input, branch(isBefore ? normal(input, name) : input)]);
    return isBefore ? sum : normal(sum, name);
  };
  let x = dense(tokens, 'embedding');
  for (let at = 0; at < layers; at++) {
    x = residual(x, `layer${at}.norm1`, (value) => {
      const keys = builder.node('Transpose', [dense(value, `layer${at}.key`)], { perm: attributeOf.ints([0, 2, 1]) });
      const scores = builder.node('Add', [builder.node('MatMul', [dense(value, `layer${at}.query`), keys]), mask]);
      const mixed = builder.node('MatMul', [
        builder.node('Softmax', [scores], { axis: attributeOf.int(-1) }),
        dense(value, `layer${at}.value`),
      ]);
      return dense(mixed, `layer${at}.attended`);
    });
    x = residual(x, `layer${at}.norm2`, (value) => dense(builder.node('Relu', [dense(value, `layer${at}.up`)]), `layer${at}.down`));
  }
  return builder.output(dense(isBefore ? normal(x, 'last') : x, 'head'), ['n', 5, WIDTH]).model;
}

/** The same network, the constants of these names zero. */
function masked(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  for (const [value, tensor] of copy.graph.initializers)
    if (names.includes(value.name))
      copy.graph.initializers.set(value, float32Tensor(tensor.dims, new Float32Array(tensor.data.byteLength / 4)));
  return copy;
}

const images = noise([3, 3, 6, 6], 11);
const context = (more: Partial<MethodContext> = {}): MethodContext => ({ ...contextFor('measured'), ...more });
const withImages = context({
  calibration: sourceOf({ input: 'x', dims: [3, 6, 6], values: float32Values(noise([20, 3, 6, 6], 8)) }),
});

function expectSame(found: readonly Float32Array[], expected: readonly Float32Array[]): void {
  expect(found.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  for (const [at, values] of found.entries())
    for (const [place, value] of values.entries()) expect(value).toBeCloseTo(expected[at]?.[place] ?? Number.NaN, 4);
}

async function dropped(model: Model, options: LayerDroppingOptions, given: MethodContext) {
  const student = cloneModel(model);
  const outcome = await layerDropping(student, options, given);
  verifyModel(student);
  const constants = [...student.graph.initializers.keys()].map(({ name }) => name);
  return { student, outcome, constants };
}

describe('residual blocks', () => {
  const network = residualNetwork([0.2, 0.01, 0.3, 0.02]);

  test('those that move the outputs least go, and nothing but their branches', async () => {
    const { student, outcome, constants } = await dropped(network, {}, withImages);
    const without = masked(network, ['block1.second.w', 'block1.second.b', 'block3.second.w', 'block3.second.b']);
    expectSame(await outputsOf(student, { x: images }), await outputsOf(without, { x: images }));
    expect(constants.filter((name) => name.startsWith('block') && name.endsWith('.w'))).toEqual([
      'block0.first.w',
      'block0.second.w',
      'block2.first.w',
      'block2.second.w',
    ]);
    expect(outcome.nodes.filter(({ op_type }) => op_type === 'Conv').map(({ action }) => action)).toEqual(Array(4).fill('removed'));
    expect(outcome.nodes[0]?.reason).toMatch(/^layer 2 of 4 that can go: without it alone the outputs move by/);
  });

  test('without samples what stays is spread over the depth', async () => {
    const { constants } = await dropped(network, { keep: 0.5 }, context());
    expect(constants.filter((name) => name.endsWith('second.w'))).toEqual(['block0.second.w', 'block3.second.w']);
  });

  test('those that the recipe names go; several after each other, too', async () => {
    const names = network.graph.nodes.filter(({ inputs }) => /block[12]\.first\.w/.test(inputs[1]?.name ?? '')).map(({ name }) => name);
    const { student } = await dropped(network, { drop: names }, context());
    const without = masked(network, ['block1.second.w', 'block1.second.b', 'block2.second.w', 'block2.second.b']);
    expectSame(await outputsOf(student, { x: images }), await outputsOf(without, { x: images }));
  });

  test('options that contradict, and names of no layer, are refused', async () => {
    const refused = (options: LayerDroppingOptions) => expect(layerDropping(cloneModel(network), options, context())).rejects;
    await refused({ drop: ['Conv_0'] }).toThrow('These end at');
    await refused({ drop: ['Conv_2'], keep: 0.5 }).toThrow('leave out "keep"');
    await refused({ choice: 'least-effect' }).toThrow('needs samples');
  });

  test('a network without unchanged shortcuts stays as it is, and says so', async () => {
    const { outcome, constants } = await dropped(residualNetwork([]), {}, context());
    expect(outcome.warnings?.join()).toMatch(/no layer can go/);
    expect(constants).toEqual(['stem.w', 'stem.b', 'head']);
  });
});

describe('encoder layers', () => {
  test.each([
    ['before the branches', true],
    ['behind the sums', false],
  ])('attention and feed-forward go together, with normalizations %s', async (_, isBefore) => {
    const network = encoder(4, isBefore);
    const sample = new Map([
      ['x', noise([2, 5, WIDTH], 21)],
      ['mask', float32Tensor([2, 5], [0, 0, 0, 0, -1e4, 0, 0, 0, -1e4, -1e4])],
    ]);
    const { student, constants } = await dropped(network, { keep: 0.5, choice: 'spaced' }, context({ sample }));
    const gone = [1, 2].flatMap((at) => ['attended.w', 'attended.b', 'down.w', 'down.b'].map((name) => `layer${at}.${name}`));
    const feeds = Object.fromEntries(sample);
    expectSame(await outputsOf(student, feeds), await outputsOf(masked(network, gone), feeds));
    expect(constants.filter((name) => /^layer[12]\..*\.w$/.test(name))).toEqual([]);
    expect(constants.filter((name) => /^layer[03]\..*\.w$/.test(name))).toHaveLength(12);
  });
});
