import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openSwitchable } from '../../../../../services/engine/evaluation/switchable-model.js';
import { attributeOf, cloneModel, float32Tensor, float32Values, type Model, type Tensor } from '../../../../../services/engine/ir/index.js';
import { modelBytes } from '../../../../../services/engine/ir/model-bytes.js';
import type { MethodContext, MethodOutcome, RunSource } from '../../../../../services/engine/method.js';
import { encodeModelFile } from '../../../../../services/engine/onnx/index.js';
import { mixedPrecision } from '../../../../../services/engine/quantization/sensitivity/mixed-precision.js';
import type { MixedPrecisionOptions } from '../../../../../services/engine/quantization/sensitivity/options.js';
import { candidateLayers } from '../../../../../services/engine/quantization/sensitivity/weight-candidates.js';
import { weightOnly } from '../../../../../services/engine/quantization/weight-only/weight-only.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, scratch, sqnr } from '../method-fixtures.js';

afterAll(removeScratch);

const WIDTH = 64;
const SAMPLES = 20;

const outlier = (tensor: Tensor): Tensor =>
  float32Tensor(
    tensor.dims,
    float32Values(tensor).map((value, at) => (at % 7 === 0 ? 8 : 0.2) * value),
  );

/** Three products, an image branch with a convolution, and outliers in the second product: what rounds worst. */
function network(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', WIDTH]);
  const size = 1 / Math.sqrt(WIDTH);
  const first = builder.node('Tanh', [builder.node('MatMul', [x, builder.constant('w0', noise([WIDTH, WIDTH], 1, 3 * size))])]);
  const second = builder.node('MatMul', [first, builder.constant('w1', outlier(noise([WIDTH, WIDTH], 2, 3 * size)))]);
  const image = builder.node('Reshape', [builder.node('Tanh', [second]), builder.constant('shape', int64([-1, 4, 4, 4]))]);
  const conv = builder.node('Conv', [image, builder.constant('w2', noise([32, 4, 3, 3], 3))], { pads: attributeOf.ints([1, 1, 1, 1]) });
  const flat = builder.node('Flatten', [conv]);
  return builder.output(builder.node('MatMul', [flat, builder.constant('w3', noise([512, 16], 4, 0.1))])).model;
}

function int64(values: readonly number[]): Tensor {
  const { data } = float32Tensor([2 * values.length], new Float32Array(new BigInt64Array(values.map(BigInt)).buffer));
  return { dataType: 'int64', dims: [values.length], data };
}

const sample = (at: number, count = 1): Tensor => noise([count, WIDTH], 500 + at, 2);

const calibration: RunSource = {
  sampleCount: SAMPLES,
  fixedBatch: null,
  sampleBytes: 4 * WIDTH,
  async *runs(size, limit = SAMPLES) {
    for (let start = 0; start < Math.min(limit, SAMPLES); start += size) {
      const count = Math.min(size, limit - start, SAMPLES - start);
      const values = Array.from({ length: count }, (_, at) => [...float32Values(sample(start + at))]).flat();
      yield { feeds: new Map([['x', float32Tensor([count, WIDTH], values)]]), rows: count, sampleCount: count };
    }
  },
};

function contextWith(more: Partial<MethodContext> = {}): MethodContext {
  return { ...contextFor('measured'), objective: 'size', calibration, ...more };
}

async function apply(options: MixedPrecisionOptions, context = contextWith()): Promise<{ model: Model; outcome: MethodOutcome }> {
  const model = network();
  const outcome = await mixedPrecision(model, options, context);
  return { model, outcome };
}

async function allOutputs(model: Model): Promise<Float32Array> {
  const all: number[] = [];
  for (let at = 0; at < SAMPLES; at += 1) for (const output of await outputsOf(model, { x: sample(at) })) all.push(...output);
  return Float32Array.from(all);
}

async function sqnrOf(model: Model): Promise<number> {
  return sqnr(await allOutputs(network()), await allOutputs(model));
}

function fileBytes(model: Model): number {
  const path = join(scratch, 'measured.onnx');
  encodeModelFile(cloneModel(model), path);
  return statSync(path).size;
}

/** Bits by node name. */
function bitsOf({ layers = [] }: MethodOutcome): Map<string, number> {
  const widths: readonly [RegExp, number][] = [
    [/^2 bit/, 2],
    [/^3 bit/, 3],
    [/^4 bit/, 4],
    [/^(8 bit|int8)/, 8],
  ];
  return new Map(layers.map(({ node, form }) => [node, widths.find(([pattern]) => pattern.test(form))?.[1] ?? 32]));
}

describe('mixed-precision under a bound on the noise', () => {
  it.each([15, 45])('keeps %d dB at the outputs over the samples, measured on the artifact', async (least) => {
    const { model, outcome } = await apply({ min_sqnr_db: least });
    expect(await sqnrOf(model)).toBeGreaterThanOrEqual(least - 0.01);
    expect(outcome.nodes.every(({ by }) => by === 'mixed-precision')).toBe(true);
  });

  it('spends fewer bytes the more noise is allowed, and stays below float32 and int8 where it can', async () => {
    const bytes: number[] = [];
    for (const least of [12, 45]) bytes.push(fileBytes((await apply({ min_sqnr_db: least })).model));
    expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
    expect(bytes[0]).toBeLessThan(fileBytes(network()) / 4);
  });

  it('keeps 30 dB when the recipe says nothing', async () => {
    const { model } = await apply({});
    expect(await sqnrOf(model)).toBeGreaterThanOrEqual(30);
  });

  it('says what can be reached when the bits that may be chosen do not reach the bound', async () => {
    const refused = apply({ bits: [4], min_sqnr_db: 80 });
    await expect(refused).rejects.toMatchObject({ code: 'recipe_invalid', message: expect.stringMatching(/reach \d+\.\d dB/) });
    const reached = Number((await refused.catch((error: Error) => error.message)).toString().match(/reach (\d+\.\d) dB/)?.[1]);
    const { model } = await apply({ bits: [4], min_sqnr_db: reached - 0.1 });
    expect(await sqnrOf(model)).toBeGreaterThanOrEqual(reached - 0.1);
  });

  it('gives layers more bits until the metric of the gate is kept', async () => {
    const dropBySqnr = {
      metric: 'top1',
      maxDrop: 0.01,
      drop: async (candidate: Model) => ((await sqnrOf(candidate)) >= 33 ? 0.005 : 0.02),
    };
    const { model } = await apply({}, contextWith({ judge: dropBySqnr }));
    expect(await sqnrOf(model)).toBeGreaterThanOrEqual(33);
    expect(fileBytes(model)).toBeLessThan(fileBytes(network()));
  });

  it('ends with the best artifact and a warning when no choice keeps the metric', async () => {
    const never = { metric: 'top1', maxDrop: 0.01, drop: async () => 1 };
    const { outcome } = await apply({ bits: [4, 8] }, contextWith({ judge: never }));
    expect([...bitsOf(outcome).values()]).toEqual([8, 8, 8, 8]);
    expect(outcome.warnings).toEqual([expect.stringMatching(/more of the metric than the gate allows/)]);
  });
});

describe('mixed-precision under a budget of bytes', () => {
  it.each(['greedy', 'knapsack'] as const)('keeps the file within the budget, and the sensitive layer most bits (%s)', async (search) => {
    const { model, outcome } = await apply({ bits: [2, 4, 8], budget: { bytes: 0.25 }, search });
    expect(fileBytes(model) / fileBytes(network())).toBeLessThan(0.255);
    const bits = bitsOf(outcome);
    const others = [...bits].filter(([node]) => node !== 'MatMul_2').map(([, width]) => width);
    expect(bits.get('MatMul_2')).toBeGreaterThanOrEqual(Math.max(2, Math.min(...others)));
    expect(new Set(bits.values()).size).toBeGreaterThan(1);
  });

  it('has less noise than one number of bits for all layers in a file that is no larger', async () => {
    const uniform = network();
    await weightOnly(uniform, { bits: 4, conv_bits: 4, embedding_bits: 4, protect_ends: false, accuracy_level: 1 }, contextWith());
    const fraction = (1.005 * modelBytes(uniform)) / modelBytes(network());
    const { model } = await apply({ bits: [2, 4, 8, 32], budget: { bytes: fraction }, search: 'knapsack' });
    expect(fileBytes(model)).toBeLessThanOrEqual(fileBytes(uniform) * 1.02);
    expect(await sqnrOf(model)).toBeGreaterThanOrEqual((await sqnrOf(uniform)) - 0.01);
  });

  it('says which budget can be kept, and keeps that one', async () => {
    const refused = apply({ bits: [4, 8], budget: { bytes: 0.01 } });
    await expect(refused).rejects.toMatchObject({ code: 'recipe_invalid' });
    const reachable = Number((await refused.catch((error: Error) => error.message)).toString().match(/reach (0\.\d+)/)?.[1]);
    const { model } = await apply({ bits: [4, 8], budget: { bytes: reachable } });
    expect(fileBytes(model) / fileBytes(network())).toBeLessThan(reachable * 1.02);
  });

  it('says what the budget leaves when the bound on the noise does not fit into it', async () => {
    const refused = apply({ budget: { bytes: 0.25 }, min_sqnr_db: 90 });
    await expect(refused).rejects.toMatchObject({ code: 'recipe_invalid', message: expect.stringMatching(/leaves \d+\.\d dB/) });
  });
});

describe('mixed-precision', () => {
  it('reports for each layer its form, its bytes and the noise at its output alone and accumulated', async () => {
    const { model, outcome } = await apply({ bits: [4, 8] });
    expect(outcome.layers?.map(({ node }) => node).sort()).toEqual(['Conv_5', 'MatMul_0', 'MatMul_2', 'MatMul_7'].sort());
    for (const line of outcome.layers ?? []) {
      expect(line.bytes_after).toBeLessThan(line.bytes_before ?? 0);
      expect(line.sqnr_local_db).toBeGreaterThan(5);
      expect(line.sqnr_db).toBeLessThanOrEqual((line.sqnr_local_db ?? 0) + 6);
    }
    const last = outcome.layers?.find(({ node }) => node === 'MatMul_7');
    expect(last?.sqnr_db).toBeCloseTo(await sqnrOf(model), -1);
  });

  it('leaves excluded layers in float32', async () => {
    const { model, outcome } = await apply({ bits: [4, 8], exclude: ['MatMul_0', 'Conv*'] });
    expect([...bitsOf(outcome).keys()].sort()).toEqual(['MatMul_2', 'MatMul_7']);
    const names = [...model.graph.initializers.keys()].map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['w0', 'w2']));
  });

  it('predicts exactly what weights do that are rounded by the quick algorithms of the sweep', async () => {
    const { calibration: _, ...blind } = contextWith();
    for (const bits of [2, 4, 8] as const) {
      const model = network();
      const layers = candidateLayers(model, { bits: [bits], exclude: [] });
      const sites = layers.map(({ candidates }, at) => ({ id: `${at}`, alternatives: candidates }));
      const switchable = await openSwitchable(model, sites, blind);
      const predicted = await switchable.run(new Map([['x', sample(1)]]), new Map(sites.map(({ id }) => [id, 0])));
      await switchable.close();
      const algorithm = bits === 2 ? 'mse' : 'rtn';
      await weightOnly(model, { bits, algorithm, op_types: ['MatMul'], protect_ends: false, accuracy_level: 1 }, blind);
      await weightOnly(model, { conv_bits: bits, algorithm: 'mse', op_types: ['Conv'], protect_ends: false }, blind);
      const [written] = await outputsOf(model, { x: sample(1) });
      const [expected] = predicted.values();
      expect(sqnr(expected ? float32Values(expected) : new Float32Array(), written ?? new Float32Array())).toBeGreaterThan(100);
    }
  });

  it('refuses to work without samples, with two budgets, and with a budget of time that is not measured here', async () => {
    const { calibration: _, ...blind } = contextWith();
    await expect(apply({}, blind)).rejects.toMatchObject({ code: 'recipe_invalid', message: expect.stringMatching(/calibration samples/) });
    await expect(apply({ budget: { bytes: 0.5, latency: 0.5 } })).rejects.toMatchObject({ code: 'recipe_invalid' });
    await expect(apply({ budget: { latency: 0.5 } })).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringMatching(/objective/),
    });
  });

  it('says so when no layer can be made smaller', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', WIDTH]);
    const model = builder.output(builder.node('Relu', [x])).model;
    expect(await mixedPrecision(model, {}, contextWith())).toMatchObject({ nodes: [], warnings: [expect.stringMatching(/no layer/)] });
  });
});

describe('the estimate of the size of a file', () => {
  it('is within 3 % of what is written, for float models and for models of few bits', async () => {
    const models = [network(), (await apply({ bits: [2, 4, 8], budget: { bytes: 0.25 } })).model];
    for (const model of models) {
      const actual = fileBytes(model);
      expect(Math.abs(modelBytes(model) - actual) / actual).toBeLessThan(0.03);
    }
  });
});
