/** weight-only as a whole: what the runtime makes of the artifact, and what data are good for. */
import { afterAll, describe, expect, test } from 'vitest';
import { cloneModel } from '../../../../../services/engine/ir/clone-model.js';
import { float32Tensor, float32Values, int64Tensor, type Model, type Tensor, type Value } from '../../../../../services/engine/ir/index.js';
import type { WeightOnlyOptions } from '../../../../../services/engine/quantization/weight-only/options.js';
import { weightOnly } from '../../../../../services/engine/quantization/weight-only/weight-only.js';
import { ModelBuilder, noise, operators, outputsOf, removeScratch, runtime, sqnr } from '../method-fixtures.js';
import { samplesOf, staticContext } from '../static/static-fixtures.js';

afterAll(removeScratch);

const DEPTH = 64;

/** Inputs that hang together, every sixteenth of them twelve times as large. */
function tokens(seed: number, rows = 8): Tensor {
  const [own, common] = [float32Values(noise([rows, DEPTH], seed + 1000)), float32Values(noise([rows, 4], seed + 5000))];
  const values = own.map((value, at) => {
    const [row, k] = [Math.floor(at / DEPTH), at % DEPTH];
    return (k % 16 === 0 ? 12 : 1) * (0.4 * value + (common[row * 4 + (k % 4)] ?? 0));
  });
  return float32Tensor([1, rows, DEPTH], values);
}

/** Three products, ends not protected: all in the bits asked for. */
function network(seed: number): Model {
  const b = new ModelBuilder({ opset: 21, irVersion: 10 });
  const product = (x: Value, [depth, width]: readonly [number, number], at: number): Value =>
    b.node('Add', [
      b.node('MatMul', [x, b.constant(`w${at}`, noise([depth, width], seed + at, 1 / Math.sqrt(depth)))]),
      b.constant(`b${at}`, noise([width], seed + at + 50, 0.1)),
    ]);
  const x = b.input('x', ['n', 8, DEPTH]);
  const hidden = b.node('Relu', [product(x, [DEPTH, 96], 1)]);
  return b.output(product(b.node('Relu', [product(hidden, [96, 64], 2)]), [64, 24], 3), ['n', 8, 24]).model;
}

const context = staticContext(samplesOf((seed) => tokens(seed), 64));
const { calibration: _, ...without } = context;
const unseen = { x: tokens(777) };

async function quality(model: Model, options: WeightOnlyOptions): Promise<number> {
  const copy = cloneModel(model);
  await weightOnly(copy, { protect_ends: false, accuracy_level: 1, ...options }, context);
  const [expected = new Float32Array()] = await outputsOf(model, unseen);
  const [actual = new Float32Array()] = await outputsOf(copy, unseen);
  return sqnr(expected, actual);
}

describe('weight-only', () => {
  test.each([
    [8, 34],
    [4, 17],
    [2, 3],
  ] as const)('%i bits: the runtime multiplies with the codes, and answers as the float model within their noise', async (bits, least) => {
    const model = cloneModel(network(1));
    await weightOnly(model, { bits, protect_ends: false }, context);
    expect(operators(model).filter((operator) => operator === 'MatMulNBits')).toHaveLength(3);
    expect(operators(model)).not.toContain('MatMul');
    expect(await quality(network(1), { bits, accuracy_level: 4 })).toBeGreaterThan(least);
  });

  test.each([2, 8] as const)('%i bits with float activations are widened when the model is loaded, in plain operators', async (bits) => {
    const model = cloneModel(network(1));
    await weightOnly(model, { bits, protect_ends: false, accuracy_level: 1 }, context);
    expect(model.graph.nodes.every(({ domain }) => domain === '')).toBe(true);
    expect(await quality(network(1), { bits })).toBeGreaterThan(bits === 8 ? 45 : 3);
  });

  test('the two formats of 4 bits hold the same weights', async () => {
    const [nbits, pairs] = [cloneModel(network(2)), cloneModel(network(2))];
    await weightOnly(nbits, { bits: 4, accuracy_level: 1, protect_ends: false }, context);
    await weightOnly(pairs, { bits: 4, format: 'dequantize-linear', protect_ends: false }, context);
    expect(operators(pairs)).toContain('DequantizeLinear');
    /** The optimizer would multiply the pairs with 8-bit activations. */
    const plain = { ...runtime, open: (model: string | Model) => runtime.open(model, { optimization: 'disabled' }) };
    const [a = new Float32Array()] = await outputsOf(nbits, unseen, plain);
    const [b = new Float32Array()] = await outputsOf(pairs, unseen, plain);
    expect(sqnr(a, b)).toBeGreaterThan(90);
  });

  test.each([10, 20, 30, 40, 50])('what rounds on samples answers better than RTN (network %i)', async (seed) => {
    const rtn = await quality(network(seed), { bits: 4, algorithm: 'rtn' });
    for (const algorithm of ['gptq', 'coordinate-descent', 'awq'] as const)
      expect(await quality(network(seed), { bits: 4, algorithm }), algorithm).toBeGreaterThan(rtn);
  });

  test('a table of embeddings is looked up as codes', async () => {
    const b = new ModelBuilder({ opset: 21, irVersion: 10 });
    const ids = b.input('ids', ['n', 4], 'int64');
    const table = b.constant('table', noise([500, 32], 3));
    const { model } = b.output(b.node('Gather', [table, ids]), ['n', 4, 32]);
    const copy = cloneModel(model);
    await weightOnly(copy, { embedding_bits: 4, block_size: 32 }, without);
    expect(operators(copy)).toEqual(['GatherBlockQuantized']);
    const feeds = { ids: int64Tensor([1, 4], [3, 0, 499, 7]) };
    const [expected = new Float32Array()] = await outputsOf(model, feeds);
    const [actual = new Float32Array()] = await outputsOf(copy, feeds);
    expect(sqnr(expected, actual)).toBeGreaterThan(17);
  });

  test('what cannot be is refused with what to do instead', async () => {
    const refusal = (options: WeightOnlyOptions, given = context) => expect(weightOnly(network(1), options, given)).rejects;
    await refusal({ algorithm: 'gptq' }, without).toThrow('choose "k-quant"');
    await refusal({ algorithm: 'hqq', symmetric: true }).toThrow('choose "mse"');
    await refusal({ bits: 2, format: 'dequantize-linear' }).toThrow('choose "matmul-nbits"');
  });
});
