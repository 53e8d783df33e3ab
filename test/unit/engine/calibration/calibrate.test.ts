import { afterAll, describe, expect, it } from 'vitest';
import { type CalibrationOptions, calibrate, type TensorStatistics } from '../../../../services/engine/calibration/index.js';
import { float32Tensor, float32Values, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../services/engine/method.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { ModelBuilder, removeScratch } from '../quantization/method-fixtures.js';
import { samplesOf, staticContext } from '../quantization/static/static-fixtures.js';

afterAll(removeScratch);

const VALUES = 4096;

/** x and Relu(x), as they are. */
function model(): { model: Model; output: string } {
  const builder = new ModelBuilder();
  const output = builder.node('Relu', [builder.input('x', ['n', 4, VALUES / 4])]);
  return { ...builder.output(output, ['n', 4, VALUES / 4]), output: output.name };
}

function draws(draw: (random: ReturnType<typeof pseudoRandom>) => number): (seed: number) => Tensor {
  return (seed) => {
    const random = pseudoRandom(seed + 1);
    return float32Tensor(
      [1, 4, VALUES / 4],
      Float32Array.from({ length: VALUES }, () => draw(random)),
    );
  };
}

const gauss = draws((random) => random.normal());
const laplace = draws((random) => Math.sign(random.uniform() - 0.5) * -Math.log(1 - random.uniform()));

async function observed(
  samples: RunSource,
  options: CalibrationOptions,
  how: { tensor?: 'x' | 'output'; channels?: boolean; levels?: number } = {},
): Promise<TensorStatistics> {
  const { model: graph, output } = model();
  const name = how.tensor === 'output' ? output : 'x';
  const { tensors } = await calibrate({
    ...{ model: graph, tensors: [name], samples, options, context: staticContext(samples) },
    ...(how.channels ? { channels: new Map([[name, 1]]) } : {}),
    ...(how.levels ? { levels: how.levels } : {}),
  });
  const found = tensors.get(name);
  if (!found) throw new Error('not observed');
  return found;
}

function allValues(make: (seed: number) => Tensor, count: number): Float64Array {
  return Float64Array.from(Array.from({ length: count }, (_, seed) => [...float32Values(make(seed))]).flat()).sort();
}

describe('calibration', () => {
  it('finds the extremes, mean and power of every value of every sample, batched or not', async () => {
    const sorted = allValues(gauss, 16);
    for (const fixedBatch of [null, 1]) {
      const { min, max, mean, power, low, high, count, clipped } = await observed(
        { ...samplesOf(gauss), fixedBatch },
        {},
        { channels: true },
      );
      expect([min, max, low, high]).toEqual([sorted[0], sorted.at(-1), sorted[0], sorted.at(-1)]);
      expect(mean).toBeCloseTo(sorted.reduce((a, b) => a + b, 0) / sorted.length, 4);
      expect(power).toBeCloseTo(sorted.reduce((a, b) => a + b * b, 0) / sorted.length, 4);
      expect(count).toBe(16 * VALUES);
      expect(clipped).toBe(0);
    }
  });

  it('keeps statistics of each channel apart', async () => {
    const scaled = (seed: number): Tensor =>
      float32Tensor(
        [1, 4, VALUES / 4],
        float32Values(gauss(seed)).map((value, at) => value * 10 ** Math.floor(at / (VALUES / 4))),
      );
    const { channels } = await observed(samplesOf(scaled), {}, { channels: true });
    const [first = 0, second = 0, third = 0, fourth = 0] = channels?.power ?? [];
    for (const [louder, quieter] of [
      [second, first],
      [third, second],
      [fourth, third],
    ] as const)
      expect(louder / quieter).toBeCloseTo(100, -1.5);
  });

  it('cuts off the share that a percentile names, half on each side', async () => {
    const sorted = allValues(gauss, 16);
    const { low, high, clipped } = await observed(samplesOf(gauss), { method: 'percentile', percentile: 99, bins: 4096 });
    const width = ((sorted.at(-1) ?? 0) - (sorted[0] ?? 0)) / 2048;
    expect(Math.abs(low - (sorted[Math.floor(0.005 * sorted.length)] ?? 0))).toBeLessThan(2 * width);
    expect(Math.abs(high - (sorted[Math.ceil(0.995 * sorted.length)] ?? 0))).toBeLessThan(2 * width);
    expect(clipped).toBeCloseTo(0.01, 3);
  });

  it('clips where the squared error is least: the closed-form optimum of Gauss and Laplace at 4 bits (methods.md 3.4)', async () => {
    const ofGauss = await observed(samplesOf(gauss, 64), { method: 'mse' }, { levels: 16 });
    expect(ofGauss.high).toBeGreaterThan(2.56 * 0.9);
    expect(ofGauss.high).toBeLessThan(2.56 * 1.12);
    const ofLaplace = await observed(samplesOf(laplace, 64), { method: 'mse' }, { levels: 16 });
    expect(ofLaplace.high).toBeGreaterThan(5.03 * 0.85);
    expect(ofLaplace.high).toBeLessThan(5.03 * 1.15);
  });

  it('lets no method choose a range beyond what was seen, nor an empty one', async () => {
    for (const method of ['minmax', 'moving-average', 'percentile', 'entropy', 'mse', 'sqnr'] as const) {
      const { min, max, low, high } = await observed(samplesOf(laplace), { method }, { tensor: 'output' });
      expect(min).toBe(0);
      expect(low).toBeGreaterThanOrEqual(min);
      expect(high).toBeLessThanOrEqual(max);
      expect(high - low).toBeGreaterThan(max / 20);
    }
  });

  it('counts values that are not finite and looks past them', async () => {
    const broken = (seed: number): Tensor =>
      float32Tensor(
        [1, 4, VALUES / 4],
        float32Values(gauss(seed)).map((value, at) => (at === 7 ? Number.NaN : at === 8 ? Number.POSITIVE_INFINITY : value)),
      );
    const { nonFinite, max } = await observed(samplesOf(broken, 4), { method: 'percentile' });
    expect(nonFinite).toBe(8);
    expect(Number.isFinite(max)).toBe(true);
  });

  it('stops when it is canceled', async () => {
    const controller = new AbortController();
    controller.abort();
    const samples = samplesOf(gauss);
    const context = { ...staticContext(samples), signal: controller.signal };
    const { model: graph } = model();
    await expect(calibrate({ model: graph, tensors: ['x'], samples, options: {}, context })).rejects.toThrow();
  });

  it('runs as many samples as the options name and says so', async () => {
    const samples = samplesOf(gauss, 16);
    const { summary } = await calibrate({
      model: model().model,
      tensors: ['x'],
      samples,
      options: { samples: 5 },
      context: staticContext(samples),
    });
    expect(summary).toMatchObject({ samples: 5, samples_given: 16, method: 'minmax', tensors: 1 });
  });

  it('answers for sizes that a file declares wrongly', async () => {
    const builder = new ModelBuilder();
    const output = builder.node('Relu', [builder.input('x', ['n', 4, VALUES / 4])]);
    const { model: stale } = builder.output(output, [128, 4, VALUES / 4]);
    const samples = samplesOf(gauss, 8);
    const { tensors } = await calibrate({ model: stale, tensors: [output.name], samples, options: {}, context: staticContext(samples) });
    expect(tensors.get(output.name)?.max).toBe(allValues(gauss, 8).at(-1));
  });
});
