/** What the observing graph lets out is what the values are: against plain runs of the same model with all tensors as outputs. */
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { type CalibrationOptions, type CalibrationResult, calibrate } from '../../../../services/engine/calibration/index.js';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  int64Tensor,
  type Model,
  type Tensor,
  type Value,
} from '../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../services/engine/method.js';
import type { Runtime } from '../../../../services/engine/runtime/execution-session.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { ModelBuilder, noise, removeScratch } from '../quantization/method-fixtures.js';
import { NetworkBuilder, runtime, samplesOf, staticContext } from '../quantization/static/static-fixtures.js';

afterAll(removeScratch);

interface Network {
  readonly model: Model;
  readonly tensors: readonly string[];
}

/** Convolutions with SiLU and a stride, a rearrangement, a product: tensors of rank 4, 3 and 2, some that follow from others. */
function network(opset: number, shape: readonly (number | string)[] = ['n', 3, 8, 8]): Network {
  const builder = new NetworkBuilder({ opset, irVersion: opset >= 13 ? 8 : 5 });
  const input = builder.input('x', shape);
  const silu = (x: Value): Value => builder.node('Mul', [x, builder.node('Sigmoid', [x])]);
  const first = silu(builder.conv(input, [3, 8]));
  const second = silu(builder.conv(first, [8, 4], { stride: 2 }));
  const rows = builder.node('Reshape', [second, builder.constant('rows', int64Tensor([3], [0, 4, 16]))]);
  const turned = builder.node('Transpose', [rows], { perm: attributeOf.ints([0, 2, 1]) });
  const product = builder.node('MatMul', [turned, builder.constant('m', noise([4, 6], 5))]);
  const relu = builder.node('Relu', [builder.node('Flatten', [product])]);
  const { model } = builder.output(relu, ['n', 96]);
  return { model, tensors: ['x', ...model.graph.nodes.flatMap((node) => node.outputs.flatMap((value) => value?.name ?? []))] };
}

/** Two ways from one convolution, joined: SiLU and Tanh. */
function branches(): Network & { readonly silu: string; readonly joined: readonly string[] } {
  const builder = new NetworkBuilder({ opset: 13 });
  const first = builder.conv(builder.input('x', ['n', 3, 8, 8]), [3, 8]);
  const silu = builder.node('Mul', [builder.node('Sigmoid', [first]), first]);
  const joined = builder.node('Concat', [silu, builder.node('Tanh', [first])], { axis: attributeOf.int(1) });
  const turned = builder.node('Transpose', [joined], { perm: attributeOf.ints([0, 1, 3, 2]) });
  const pooled = builder.node('MaxPool', [turned], { kernel_shape: attributeOf.ints([2, 2]) });
  const { model } = builder.output(pooled, null);
  const tensors = ['x', ...model.graph.nodes.flatMap((node) => node.outputs.flatMap((value) => value?.name ?? []))];
  return { model, tensors, silu: silu.name, joined: [joined.name, ...joined.consumers.flatMap(({ outputs }) => outputs[0]?.name ?? [])] };
}

const image = (seed: number): Tensor => noise([1, 3, 8, 8], seed + 1, 2);

/** All values of each tensor over the samples, one by one, from the model with all of them as outputs. */
async function plainRuns({ model, tensors }: Network, samples: RunSource): Promise<Map<string, Float32Array>> {
  const copy = cloneModel(model);
  for (const node of copy.graph.nodes) for (const value of node.outputs) if (value) value.type = null;
  const values = copy.graph.nodes.flatMap((node) => node.outputs.filter((value) => value !== null));
  const wanted = values.filter(({ name }) => tensors.includes(name));
  for (const value of wanted) value.type = { kind: 'tensor', dataType: 'float32', shape: null };
  copy.graph.outputs.splice(0, copy.graph.outputs.length, ...wanted);
  const session = await runtime.open(copy);
  const parts = new Map(tensors.map((name): [string, Float32Array[]] => [name, []]));
  for await (const { feeds } of samples.runs(1)) {
    const outputs = await session.run(feeds);
    for (const [name, seen] of parts) {
      const tensor = outputs.get(name) ?? feeds.get(name);
      if (tensor) seen.push(float32Values(tensor).slice());
    }
  }
  await session.close();
  return new Map([...parts].map(([name, seen]) => [name, joined(seen)]));
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const none = new Float32Array();

function calibrated(
  { model, tensors }: Network,
  samples: RunSource,
  more: { options?: CalibrationOptions; channels?: ReadonlyMap<string, number>; moments?: boolean; on?: Runtime } = {},
): Promise<CalibrationResult> {
  const context = staticContext(samples, more.on ? { runtime: more.on } : {});
  const { options = {}, channels = new Map<string, number>(), moments = false } = more;
  return calibrate({ model, tensors, samples, options, context, channels, moments });
}

const finite = (values: Float32Array): Float32Array => values.filter(Number.isFinite);
const extremes = (values: Float32Array): [number, number] => [
  values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
  values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
];
const average = (values: Float32Array, of = (value: number): number => value): number =>
  values.reduce((sum, value) => sum + of(value), 0) / values.length;

describe('observed tensors', () => {
  for (const opset of [9, 13, 18]) {
    it.each<CalibrationOptions>([{}, { method: 'percentile', percentile: 100 }])(
      `have the extremes, moments, counts and dims of a plain run, operator set ${opset}, %o`,
      async (options) => {
        const net = network(opset);
        const samples = samplesOf(image, 11);
        const { tensors } = await calibrated(net, samples, { options, moments: true });
        const plain = await plainRuns(net, samples);
        expect([...tensors.keys()]).toEqual(expect.arrayContaining([...net.tensors]));
        for (const [name, { min, max, low, high, mean, power, count, nonFinite, dims }] of tensors) {
          const values = plain.get(name) ?? none;
          const [least, largest] = extremes(values);
          const near = 1e-5 * Math.max(-least, largest);
          expect(Math.abs(min - least), name).toBeLessThanOrEqual(near);
          expect(Math.abs(max - largest), name).toBeLessThanOrEqual(near);
          expect([low, high], name).toEqual([min, max]);
          expect(mean, name).toBeCloseTo(average(values), 4);
          expect(power, name).toBeCloseTo(
            average(values, (value) => value * value),
            3,
          );
          expect([count, nonFinite], name).toEqual([values.length, 0]);
          expect(
            dims.reduce((a, b) => a * b),
            name,
          ).toBe((values.length / 11) * (dims[0] ?? 1));
        }
      },
    );

    it(`have the statistics of each channel, at any axis and rank, operator set ${opset}`, async () => {
      const net = network(opset);
      const [conv = '', product = ''] = net.model.graph.nodes
        .filter(({ opType }) => opType === 'Conv' || opType === 'MatMul')
        .flatMap((node) => node.outputs[0]?.name ?? [])
        .filter((_, at) => at !== 1);
      const samples = samplesOf(image, 6);
      const channels = new Map([
        [conv, 1],
        [product, -1],
      ]);
      const { tensors } = await calibrated(net, samples, { channels });
      const plain = await plainRuns(net, samples);
      for (const [name, size, inner] of [
        [conv, 8, 64],
        [product, 6, 1],
      ] as const) {
        const values = plain.get(name) ?? none;
        const seen = tensors.get(name)?.channels;
        for (let channel = 0; channel < size; channel += 1) {
          const own = values.filter((_, at) => Math.floor(at / inner) % size === channel);
          expect(seen?.mean[channel]).toBeCloseTo(average(own), 4);
          expect(seen?.power[channel]).toBeCloseTo(
            average(own, (value) => value * value),
            3,
          );
        }
      }
    });
  }

  it('have extremes that follow from those of other tensors where that is possible', async () => {
    const net = branches();
    const samples = samplesOf(image, 7);
    const { tensors } = await calibrated(net, samples, { channels: new Map([[net.silu, 1]]) });
    const plain = await plainRuns(net, samples);
    for (const [name, { min, max, count }] of tensors) {
      const [least, largest] = extremes(plain.get(name) ?? none);
      expect(max, name).toBeCloseTo(largest, 5);
      // The lowest point of SiLU may lie between two values.
      expect(Math.abs(min - least), name).toBeLessThan(name === net.silu || net.joined.includes(name) ? 0.01 : 1e-5);
      expect(min, name).toBeLessThanOrEqual(least + 1e-6);
      expect(count, name).toBe((plain.get(name) ?? none).length);
    }
    expect(tensors.get(net.silu)?.channels?.mean[2]).toBeCloseTo(
      average((plain.get(net.silu) ?? none).filter((_, at) => Math.floor(at / 64) % 8 === 2)),
      4,
    );
  });

  it('have channels of the first 16 samples, and extremes of all, where maps are large', async () => {
    const builder = new NetworkBuilder({ opset: 13 });
    const input = builder.input('x', [1, 3, 48, 48]);
    const relu = builder.node('Relu', [builder.conv(input, [3, 8])]);
    const net = { ...builder.output(relu, [1, 8, 48, 48]), tensors: [relu.name] };
    // From the 17th on the samples are ten times as large.
    const samples = { ...samplesOf((seed) => noise([1, 3, 48, 48], seed + 1, seed < 16 ? 1 : 10), 40), fixedBatch: 1 };
    const { tensors, summary } = await calibrated(net, samples, { channels: new Map([[relu.name, 1]]) });
    const values = (await plainRuns(net, samples)).get(relu.name) ?? none;
    const first = values.subarray(0, (16 * values.length) / 40);
    const ofChannel = (of: Float32Array, channel: number): Float32Array => of.filter((_, at) => Math.floor(at / 2304) % 8 === channel);
    expect(summary.samples).toBe(40);
    expect(tensors.get(relu.name)?.max).toBeCloseTo(extremes(values)[1], 4);
    for (const channel of [0, 5]) {
      expect(tensors.get(relu.name)?.channels?.mean[channel]).toBeCloseTo(average(ofChannel(first, channel)), 4);
      expect(average(ofChannel(values, channel))).toBeGreaterThan(3 * average(ofChannel(first, channel)));
    }
  });

  it.each([[Number.NaN], [Number.POSITIVE_INFINITY], [Number.NEGATIVE_INFINITY]])(
    'are counted and looked past where they hold %d, in the tensor where it arises and in those that it reaches',
    async (bad) => {
      const net = network(13);
      const samples = samplesOf((seed) => {
        const values = float32Values(image(seed));
        if (seed === 5) values[100] = bad;
        return float32Tensor([1, 3, 8, 8], values);
      }, 9);
      const plain = await plainRuns(net, samples);
      for (const options of [{}, { method: 'percentile', percentile: 100 }] as const) {
        const { tensors } = await calibrated(net, samples, { options });
        for (const [name, { min, max, nonFinite, count }] of tensors) {
          const values = plain.get(name) ?? none;
          const [least, largest] = extremes(finite(values));
          expect([nonFinite, count], name).toEqual([values.length - finite(values).length, finite(values).length]);
          expect(min, name).toBeCloseTo(least, 4);
          expect(max, name).toBeCloseTo(largest, 4);
        }
        expect(tensors.get('x')?.nonFinite).toBe(1);
      }
    },
  );

  it('are the same when the graph mixes the samples of a batch: they are run one by one then', async () => {
    const builder = new ModelBuilder({ opset: 13 });
    const input = builder.input('x', ['n', 3, 8, 8]);
    const mean = builder.node('ReduceMean', [input], { axes: attributeOf.ints([0]), keepdims: attributeOf.int(1) });
    const centered = builder.node('Sub', [input, mean]);
    const net = { ...builder.output(centered, ['n', 3, 8, 8]), tensors: [centered.name] };
    const { tensors } = await calibrated(net, samplesOf(image, 8));
    expect(tensors.get(centered.name)).toMatchObject({ min: 0, max: 0, dims: [1, 3, 8, 8] });
  });

  it('may have sizes that depend on values', async () => {
    const builder = new ModelBuilder({ opset: 13 });
    const input = builder.input('x', [1, 3, 8, 8]);
    const places = builder.node('Transpose', [builder.node('NonZero', [builder.node('Relu', [input])])]);
    const found = builder.node('GatherND', [input, places]);
    const four = builder.node('Reshape', [found, builder.constant('four', int64Tensor([4], [1, -1, 1, 1]))]);
    const twice = builder.node('Add', [four, four]);
    const net = { ...builder.output(twice, [1, null as unknown as string, 1, 1]), tensors: [twice.name, 'x'] };
    const samples = { ...samplesOf(image, 5), fixedBatch: 1 };
    const { tensors } = await calibrated(net, samples, { channels: new Map([['x', 1]]) });
    const values = (await plainRuns(net, samples)).get('x') ?? none;
    expect(tensors.get(twice.name)?.max).toBe(2 * extremes(values)[1]);
    expect(tensors.get('x')?.max).toBe(extremes(values)[1]);
  });

  it('are read in part where they are large, and percentiles stay near the exact ones', async () => {
    const size = 400_000;
    const builder = new ModelBuilder({ opset: 13 });
    const input = builder.input('x', ['n', 1, size]);
    const negative = builder.node('Neg', [input]);
    const net = { ...builder.output(negative, ['n', 1, size]), tensors: ['x', negative.name] };
    const make = (seed: number): Tensor => {
      const random = pseudoRandom(seed + 1);
      return float32Tensor(
        [1, 1, size],
        Float32Array.from({ length: size }, () => random.normal()),
      );
    };
    const samples = samplesOf(make, 6);
    const { tensors } = await calibrated(net, samples, { options: { method: 'percentile', percentile: 99.9 } });
    const known = tensors.get('x');
    const sorted = ((await plainRuns(net, samples)).get('x') ?? none).toSorted();
    const read = known?.histogram?.counts.reduce((a, b) => a + b, 0) ?? 0;
    expect(read).toBeLessThan(6 * 2 ** 16 + 6);
    expect([known?.min, known?.max]).toEqual([sorted[0], sorted.at(-1)]);
    // The number of read values beyond a point is binomial: five deviations of it, and a bin.
    const beyond = 0.0005;
    const slack = 5 * Math.sqrt(beyond / read);
    const width = ((known?.histogram?.high ?? 0) - (known?.histogram?.low ?? 0)) / (known?.histogram?.counts.length ?? 1);
    const at = (share: number): number => sorted[Math.floor(share * sorted.length)] ?? Number.NaN;
    expect(known?.high).toBeGreaterThan(at(1 - beyond - slack) - width);
    expect(known?.high).toBeLessThan(at(1 - beyond + slack) + width);
    expect(known?.low).toBeGreaterThan(at(beyond - slack) - width);
    expect(known?.low).toBeLessThan(at(beyond + slack) + width);
  });

  it('have moving averages of the extremes of single samples: m + 0.01 (new - m)', async () => {
    const net = network(13);
    const samples = samplesOf(image, 20);
    const { tensors } = await calibrated(net, samples, { options: { method: 'moving-average' } });
    const name = net.tensors.at(-3) ?? '';
    const values = (await plainRuns(net, samples)).get(name) ?? none;
    const each = values.length / 20;
    let expected: [number, number] | undefined;
    for (let sample = 0; sample < 20; sample += 1) {
      const [least, largest] = extremes(values.subarray(sample * each, (sample + 1) * each));
      const [low, high] = expected ?? [least, largest];
      expected = [low + 0.01 * (least - low), high + 0.01 * (largest - high)];
    }
    expect(tensors.get(name)?.low).toBeCloseTo(expected?.[0] ?? Number.NaN, 4);
    expect(tensors.get(name)?.high).toBeCloseTo(expected?.[1] ?? Number.NaN, 4);
    expect(tensors.get(name)?.clipped).toBeGreaterThan(0);
  });
});

describe('the length of a calibration', () => {
  /** Each run takes a tenth of a second of a clock that runs move. */
  function slowRuntime(): Runtime {
    const now = performance.now.bind(performance);
    let passed = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => now() + passed);
    return {
      ...runtime,
      async open(model, options) {
        const session = await runtime.open(model, options);
        return {
          ...session,
          run(feeds, fetches) {
            passed += 100;
            return session.run(feeds, fetches);
          },
        };
      },
    };
  }
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('is bounded by what changes: equal samples end it at 32, once it took seconds', async () => {
    const samples = { ...samplesOf(() => image(0), 400), fixedBatch: 1 };
    const { summary } = await calibrated(network(13), samples, { on: slowRuntime() });
    expect(summary).toMatchObject({ samples: 32, samples_given: 400 });
  });

  it('is that of the data set while samples move the ranges, when it is short, and when the number of samples was given', async () => {
    const growing = { ...samplesOf((seed) => noise([1, 3, 8, 8], 1, seed + 1), 100), fixedBatch: 1 };
    const equal = { ...samplesOf(() => image(0), 100), fixedBatch: 1 };
    expect((await calibrated(network(13), equal)).summary.samples).toBe(100);
    const on = slowRuntime();
    expect((await calibrated(network(13), growing, { on })).summary.samples).toBe(100);
    expect((await calibrated(network(13), equal, { on, options: { samples: 90 } })).summary.samples).toBe(90);
  });
});
