import { afterAll, describe, expect, it } from 'vitest';
import { cloneModel } from '../../../../../services/engine/ir/clone-model.js';
import { attributeOf, float32Tensor, float32Values, type Model, type Value } from '../../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../../services/engine/method.js';
import { saturationReport } from '../../../../../services/engine/quantization/saturation-report.js';
import type { StaticInt8Options } from '../../../../../services/engine/quantization/static/options.js';
import { staticInt8 } from '../../../../../services/engine/quantization/static/static-int8.js';
import { reportFusion } from '../../../../../services/engine/runtime/fusion-report.js';
import { noise, operators, outputsOf, removeScratch, scratch, sqnr } from '../method-fixtures.js';
import { image, NetworkBuilder, residualNetwork, runtime, samplesOf, staticContext, weights } from './static-fixtures.js';

afterAll(removeScratch);

const samples = samplesOf(image);
const unseen = { x: image(777) };

async function quantized(model: Model, options: StaticInt8Options = {}, context: MethodContext = staticContext(samples)) {
  const copy = cloneModel(model);
  return { model: copy, outcome: await staticInt8(copy, options, context) };
}

async function outputs(model: Model, config: Readonly<Record<string, string>> = {}): Promise<Float32Array> {
  const session = await runtime.open(model, { config });
  try {
    const [result] = (await session.run(new Map(Object.entries(unseen)))).values();
    if (!result) throw new Error('no output');
    return float32Values(result).slice();
  } finally {
    await session.close();
  }
}

describe('static int8', () => {
  it('computes every layer of a residual network with an integer kernel and answers as the float model does', async () => {
    const float = residualNetwork();
    const { model } = await quantized(float);
    const fusion = await reportFusion(runtime, model, scratch);
    expect(fusion.unfused).toEqual([]);
    expect(fusion.operators).toMatchObject({
      QLinearConv: 7,
      'com.microsoft:QLinearAdd': 1,
      'com.microsoft:QLinearConcat': 1,
      'com.microsoft:QGemm': 2,
    });
    expect(fusion.operators.Conv ?? 0).toBe(0);
    expect(fusion.operators.Relu ?? 0).toBe(0);
    expect(sqnr(await outputs(float), await outputs(model))).toBeGreaterThan(25);
  });

  it('answers alike with integer kernels and in float arithmetic: no pair of products can saturate', async () => {
    const { model } = await quantized(residualNetwork());
    expect(saturationReport(model).exact_on).toEqual(['x64', 'x64-vnni', 'arm64']);
    expect(sqnr(await outputs(model, { 'session.disable_quant_qdq': '1' }), await outputs(model))).toBeGreaterThan(35);
  });

  it('keeps names and types of inputs and outputs', async () => {
    const float = residualNetwork();
    const { model } = await quantized(float);
    const border = (each: Model) => [...each.graph.inputs, ...each.graph.outputs].map(({ name, type }) => ({ name, type }));
    expect(border(model)).toEqual(border(float));
  });

  it('gives the same bits as integer operators and as pairs', async () => {
    const [pairs, integers] = [await quantized(residualNetwork()), await quantized(residualNetwork(), { format: 'qoperator' })];
    expect(operators(integers.model)).toContain('QLinearConv');
    expect(operators(integers.model)).not.toContain('Conv');
    expect(await outputs(integers.model)).toEqual(await outputs(pairs.model));
  });

  it('keeps the weights of an excluded layer in float, whatever the runtime rewrites around it', async () => {
    const net = new NetworkBuilder();
    const x = net.input('x', ['n', 3, 12, 12]);
    const first = net.node('Relu', [net.conv(x, [3, 8])]);
    const middle = net.node('Relu', [net.conv(first, [8, 8])]);
    const { model } = net.output(net.conv(middle, [8, 4]), ['n', 4, 12, 12]);
    const excluded = model.graph.nodes[2]?.name ?? '';
    const { model: guarded, outcome } = await quantized(model, { exclude: [excluded] });
    expect(outcome.nodes).toContainEqual(expect.objectContaining({ node: excluded, action: 'left', reason: 'excluded by the recipe' }));
    expect(await outputs(guarded)).toEqual(
      await outputs(guarded, { 'optimization.disable_specified_optimizers': 'WeightBiasQuantization' }),
    );
    const fusion = await reportFusion(runtime, guarded, scratch);
    expect(fusion.operators.QLinearConv).toBe(2);
  });

  it('treats operators that it does not know as barriers', async () => {
    const net = new NetworkBuilder();
    const x = net.input('x', ['n', 3, 12, 12]);
    const before = net.conv(x, [3, 4]);
    const { model } = net.output(net.conv(net.node('Erf', [before]), [4, 4]), ['n', 4, 12, 12]);
    const { model: result, outcome } = await quantized(model);
    expect(operators(result)).toContain('Erf');
    expect(outcome.nodes.find(({ op_type }) => op_type === 'Erf')).toMatchObject({ action: 'left' });
    expect(sqnr(await outputs(model), await outputs(result))).toBeGreaterThan(25);
  });

  it('absorbs Clip and never lets its bounds be exceeded', async () => {
    const net = new NetworkBuilder();
    const x = net.input('x', ['n', 3, 12, 12]);
    const bounds = [0, 1].map((value) => net.constant(`bound${value}`, { ...image(0), dims: [], data: bytes(value) }));
    const clipped = net.node('Clip', [net.conv(x, [3, 8]), ...bounds]);
    const { model } = net.output(net.conv(clipped, [8, 4]), ['n', 4, 12, 12]);
    const { model: result, outcome } = await quantized(model);
    expect(operators(result)).not.toContain('Clip');
    expect(outcome.layers?.[0]?.range?.[0]).toBe(0);
    expect(outcome.layers?.[0]?.range?.[1]).toBeLessThanOrEqual(1 + 2 ** -23);
  });

  it('gives each layer its range, noise and pair bound in the report', async () => {
    const { outcome } = await quantized(residualNetwork());
    expect(outcome.layers).toHaveLength(9);
    for (const layer of outcome.layers ?? []) {
      expect(layer.form).toBe('int8');
      expect(layer.sqnr_local_db).toBeGreaterThan(25);
      expect(layer.sqnr_db).toBeGreaterThan(15);
      expect(layer.pair_bound).toBeLessThanOrEqual(32_767);
      expect(layer.bytes_after).toBeLessThan(layer.bytes_before ?? 0);
    }
  });

  it('moves the outlier channels behind a LayerNormalization into the weights, unless told not to', async () => {
    const net = new NetworkBuilder();
    const x = net.input('x', ['n', 4, 16]);
    const scales = float32Tensor(
      [16],
      Float32Array.from({ length: 16 }, (_, channel) => (channel % 8 === 0 ? 40 : 1)),
    );
    const normal = net.node('LayerNormalization', [x, net.constant('scale', scales)]);
    const first = net.node('MatMul', [normal, net.constant('w1', weights([16, 16], 1))]);
    const { model } = net.output(net.node('MatMul', [net.node('Relu', [first]), net.constant('w2', weights([16, 8], 2))]), ['n', 4, 8]);
    const tokens = (seed: number) => noise([1, 4, 16], seed);
    const context = staticContext(samplesOf(tokens, 32));
    const quality = async (smooth?: boolean): Promise<number> => {
      const { model: result, outcome } = await quantized(model, smooth === undefined ? {} : { smooth }, context);
      expect(outcome.nodes.some(({ by }) => by === 'smooth-quant')).toBe(smooth !== false);
      const [expected = new Float32Array()] = await outputsOf(model, { x: tokens(900) });
      const [actual = new Float32Array()] = await outputsOf(result, { x: tokens(900) });
      return sqnr(expected, actual);
    };
    expect(await quality()).toBeGreaterThan((await quality(false)) + 3);
  });

  it('stores all weights in int8 and computes in float when the model would not be faster', async () => {
    const slow: MethodContext['runtime'] = { ...runtime, open: (model, options) => slowed(model, options) };
    const slowed: MethodContext['runtime']['open'] = async (model, options) => {
      const session = await runtime.open(model, options);
      const isInteger = typeof model !== 'string' && operators(model).includes('QuantizeLinear');
      const isTimed = options?.config?.['session.intra_op.allow_spinning'] === '1';
      return isInteger && isTimed ? { ...session, run: delayed(session.run) } : session;
    };
    const { model, outcome } = await quantized(residualNetwork(), {}, staticContext(samples, { runtime: slow, objective: 'latency' }));
    expect(operators(model)).not.toContain('QuantizeLinear');
    expect(outcome.nodes.filter(({ reason }) => reason.includes('stored')).length).toBeGreaterThan(0);
    expect(sqnr(await outputs(residualNetwork()), await outputs(model))).toBeGreaterThan(35);
  });

  it('keeps in float what would drown small channels for little time, when the fastest division answers badly', async () => {
    const float = unevenNetwork();
    const context = staticContext(samples, { runtime: withSlowFloat(runtime), objective: 'latency' });
    const { model, outcome } = await quantized(float, {}, context);
    const everything = await quantized(float);
    const quality = async (of: Model): Promise<number> => {
      const [[exact], [answer]] = [await outputsOf(float, unseen, runtime), await outputsOf(of, unseen, runtime)];
      return sqnr(exact ?? new Float32Array(), answer ?? new Float32Array());
    };
    expect(await quality(everything.model)).toBeLessThan(15);
    expect(await quality(model)).toBeGreaterThan(25);
    expect(operators(model)).toContain('QuantizeLinear');
    const changed = outcome.nodes.filter(({ action, op_type }) => action === 'changed' && op_type === 'Conv');
    expect(changed.length).toBeGreaterThan(0);
    expect(changed.every(({ reason }) => reason.includes('chosen for little noise'))).toBe(true);
  });

  it('moves the biases of layers that stay in float and keep int8 weights by what the rounding does to the mean', async () => {
    const net = new NetworkBuilder();
    const { model: float } = net.output(net.conv(net.input('x', ['n', 3, 12, 12]), [3, 200], { kernel: 1 }), ['n', 200, 12, 12]);
    const bright = (seed: number) =>
      float32Tensor(
        [1, 3, 12, 12],
        float32Values(image(seed)).map((value) => 3 + 0.2 * value),
      );
    const noiseOf = async (options: StaticInt8Options): Promise<number> => {
      const { model } = await quantized(float, { ...options, min_sqnr_db: 200 }, staticContext(samplesOf(bright)));
      expect(operators(model)).not.toContain('QuantizeLinear');
      expect(operators(model)).toContain('Cast');
      const [[before], [after]] = [
        await outputsOf(float, { x: bright(500) }, runtime),
        await outputsOf(model, { x: bright(500) }, runtime),
      ];
      return -sqnr(before ?? new Float32Array(), after ?? new Float32Array());
    };
    expect(await noiseOf({})).toBeLessThan((await noiseOf({ bias_correction: 'off' })) - 6);
  });

  it('returns layers to float until the outputs have the signal to noise ratio that is asked for', async () => {
    const plain = await quantized(residualNetwork());
    const held = await quantized(residualNetwork(), { min_sqnr_db: 55 });
    const count = (model: Model) => operators(model).filter((operator) => operator === 'QuantizeLinear').length;
    expect(count(held.model)).toBeLessThan(count(plain.model));
    expect(held.outcome.warnings).toEqual([]);
    expect(held.outcome.nodes.some(({ reason }) => reason.includes('min_sqnr_db 55'))).toBe(true);
  });

  it('rounds with real inputs so that the products of a layer err less on them, and stays pair-safe', async () => {
    const net = new NetworkBuilder();
    const { model: float } = net.output(net.conv(net.input('x', ['n', 3, 12, 12]), [3, 8]), ['n', 8, 12, 12]);
    // Channels and neighbours that go together, as in photographs.
    const smooth = (seed: number) =>
      float32Tensor(
        [1, 3, 12, 12],
        float32Values(image(seed)).map((value, at) => Math.sin(seed + (at % 12) / 6) + 0.1 * value),
      );
    const seen = samplesOf(smooth);
    const expected = await outputsOf(float, { x: smooth(3) }, runtime);
    const noiseOf = async (options: StaticInt8Options): Promise<number> => {
      const { model } = await quantized(float, { bias_correction: 'off', ...options }, staticContext(seen));
      expect(saturationReport(model).exact_on).toContain('x64');
      const [before, after] = [expected[0], (await outputsOf(model, { x: smooth(3) }, runtime))[0]];
      return -sqnr(before ?? new Float32Array(), after ?? new Float32Array());
    };
    const plain = await noiseOf({});
    for (const rounding of ['gptq', 'adaround'] as const) expect(await noiseOf({ rounding })).toBeLessThan(plain);
    expect(await noiseOf({ rounding: 'seq-mse' })).toBeLessThanOrEqual(plain);
  });

  it('follows overrides by tensor: a fixed range, a fixed scale, float', async () => {
    const float = residualNetwork();
    const [stem] = float.graph.nodes.filter(({ opType }) => opType === 'Relu');
    const tensor = stem?.outputs[0]?.name ?? '';
    const ranged = await quantized(float, { overrides: [{ tensors: [tensor], range: [0, 8] }] });
    expect(ranged.outcome.layers?.[0]?.range).toEqual([0, expect.closeTo(8, 5)]);
    const fixed = await quantized(float, { overrides: [{ tensors: [tensor], scale: 0.5, zero_point: 0 }] });
    expect(fixed.outcome.layers?.[0]).toMatchObject({ scale: 0.5, zero_point: 0 });
    const left = await quantized(float, { overrides: [{ tensors: [tensor], float: true }] });
    expect(left.outcome.nodes.find(({ reason }) => reason.includes('override'))).toMatchObject({ action: 'left' });
  });

  it('makes power-of-two scales when asked to', async () => {
    const { outcome } = await quantized(residualNetwork(), { power_of_two: true });
    for (const { scale = 1 } of outcome.layers ?? []) expect(Number.isInteger(Math.log2(scale))).toBe(true);
  });

  it('is refused without calibration samples, with a word on what to do', async () => {
    const { calibration: _, ...without } = staticContext(samples);
    await expect(staticInt8(residualNetwork(), {}, without)).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining('--data'),
    });
  });

  it('raises an old operator set, and pools spatial means on codes', async () => {
    const net = new NetworkBuilder({ opset: 11, irVersion: 6 });
    const x = net.input('x', ['n', 3, 12, 12]);
    const mean = net.node('ReduceMean', [net.node('Relu', [net.conv(x, [3, 8])])], {
      axes: attributeOf.ints([2, 3]),
      keepdims: attributeOf.int(0),
    });
    const { model } = net.output(net.gemm(mean, [8, 4]), ['n', 4]);
    const { model: result } = await quantized(model);
    expect(result.opset).toBeGreaterThanOrEqual(13);
    const fusion = await reportFusion(runtime, result, scratch);
    expect(fusion.operators['com.microsoft:QLinearGlobalAveragePool']).toBe(1);
    const [expected] = await outputsOf(model, unseen, runtime);
    expect(sqnr(expected ?? new Float32Array(), await outputs(result))).toBeGreaterThan(25);
  });
});

function bytes(value: number) {
  const data = new Uint8Array(Float32Array.of(value).buffer);
  return {
    byteLength: 4,
    read: () => data,
    *chunks() {
      yield data;
    },
  };
}

/** One range holds channels from 1 to 3,000, which a depthwise convolution takes one by one; large layers follow. */
function unevenNetwork(): Model {
  const net = new NetworkBuilder();
  const perChannel = (x: Value, name: string, scale: (channel: number) => number): Value =>
    net.node(
      'Conv',
      [
        x,
        net.constant(
          name,
          float32Tensor(
            [8, 1, 1, 1],
            Float32Array.from({ length: 8 }, (_, at) => scale(at)),
          ),
        ),
      ],
      {
        group: attributeOf.int(8),
      },
    );
  const stem = net.node('Relu', [net.conv(net.input('x', ['n', 3, 12, 12]), [3, 8])]);
  const uneven = perChannel(stem, 'grow', (channel) => 3000 ** (channel / 7));
  const even = net.node('Relu', [perChannel(uneven, 'shrink', (channel) => 3000 ** (-channel / 7))]);
  const deep = net.node('Relu', [net.conv(even, [8, 32])]);
  return net.output(net.conv(net.node('Relu', [net.conv(deep, [32, 32])]), [32, 4]), ['n', 4, 12, 12]).model;
}

/** A machine on which float kernels take a hundred times as long. */
function withSlowFloat(on: MethodContext['runtime']): MethodContext['runtime'] {
  const isInteger = (model: string | Model): boolean => typeof model !== 'string' && operators(model).includes('QuantizeLinear');
  return {
    ...on,
    async profile(models, feeds, options) {
      const kernels = await on.profile(models, feeds, options);
      return kernels.map((times, at) =>
        times.map((time) => ({ ...time, microseconds: isInteger(models[at] ?? '') ? time.microseconds : 100 * time.microseconds })),
      );
    },
    async open(model, options) {
      const session = await on.open(model, options);
      const isTimed = options?.config?.['session.intra_op.allow_spinning'] === '1';
      return isTimed && !isInteger(model) ? { ...session, run: delayed(session.run) } : session;
    },
  };
}

function delayed<Arguments extends unknown[], Result>(
  run: (...given: Arguments) => Promise<Result>,
): (...given: Arguments) => Promise<Result> {
  return async (...given) => {
    const end = performance.now() + 5;
    while (performance.now() < end);
    return run(...given);
  };
}
