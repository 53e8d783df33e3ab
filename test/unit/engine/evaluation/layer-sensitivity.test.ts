import { afterAll, describe, expect, it } from 'vitest';
import { compareWithFloat, layerSensitivity, localSensitivity } from '../../../../services/engine/evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableSite } from '../../../../services/engine/evaluation/switchable-model.js';
import { float32Tensor, float32Values, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import type { RunSource, SampleRun } from '../../../../services/engine/method.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, sqnr } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

const LAYERS = 3;
const SAMPLES = 7;

/** A chain of MatMul and Tanh, its weights as they are or replaced. */
function chain(replaced: ReadonlyMap<string, Tensor> = new Map(), cut = LAYERS): Model {
  const builder = new ModelBuilder();
  let value = builder.input('x', ['n', 8]);
  for (let at = 0; at < cut; at += 1) {
    const product = builder.node('MatMul', [value, builder.constant(`w${at}`, replaced.get(`w${at}`) ?? noise([8, 8], at + 1))]);
    value = at + 1 < cut || cut < LAYERS ? (at + 1 === cut ? product : builder.node('Tanh', [product])) : product;
  }
  return builder.output(value).model;
}

/** The weight rounded to a grid; coarser for later alternatives. */
function roundedWeight(at: number, alternative: number): Tensor {
  const step = 0.05 * 4 ** alternative;
  return float32Tensor(
    [8, 8],
    float32Values(noise([8, 8], at + 1)).map((value) => step * Math.round(value / step)),
  );
}

const sites: readonly SwitchableSite[] = Array.from({ length: LAYERS }, (_, at) => ({
  id: `layer${at}`,
  alternatives: [0, 1].map((alternative) => ({
    weights: [{ value: `w${at}`, quantized: () => float32Values(roundedWeight(at, alternative)) }],
  })),
}));

const sample = (at: number): Tensor => noise([1, 8], 100 + at, 1 + at);

/** Samples one by one or in batches, counting how many were taken. */
function source(): RunSource & { readonly taken: { samples: number; largest: number } } {
  const taken = { samples: 0, largest: 0 };
  return {
    taken,
    sampleCount: SAMPLES,
    fixedBatch: null,
    sampleBytes: 32,
    async *runs(size, limit = SAMPLES): AsyncGenerator<SampleRun> {
      for (let start = 0; start < Math.min(limit, SAMPLES); start += size) {
        const count = Math.min(size, limit - start, SAMPLES - start);
        const values = Float32Array.from(Array.from({ length: count }, (_, at) => [...float32Values(sample(start + at))]).flat());
        taken.samples += count;
        taken.largest = Math.max(taken.largest, count);
        yield { feeds: new Map([['x', float32Tensor([count, 8], values)]]), rows: count, sampleCount: count };
      }
    },
  };
}

async function outputsOfSamples(model: Model, count = SAMPLES): Promise<Float32Array> {
  const all: number[] = [];
  for (let at = 0; at < count; at += 1) for (const output of await outputsOf(model, { x: sample(at) })) all.push(...output);
  return Float32Array.from(all);
}

const silent = { signal: new AbortController().signal, progress() {} };

describe('layer sensitivity', () => {
  it('is the noise that a model with only this weight rounded shows at its outputs over all samples, the largest first', async () => {
    const switchable = await openSwitchable(chain(), sites, contextFor('measured'));
    const found = await layerSensitivity(switchable, sites, { samples: { source: source(), limit: SAMPLES }, context: silent });
    await switchable.close();
    const reference = await outputsOfSamples(chain());
    expect(found).toHaveLength(LAYERS * 2);
    for (const { site, alternative, sqnr_db, noise: power } of found) {
      const at = Number(site.slice(-1));
      const expected = sqnr(reference, await outputsOfSamples(chain(new Map([[`w${at}`, roundedWeight(at, alternative)]]))));
      expect(sqnr_db).toBeCloseTo(expected, 2);
      expect(power).toBeCloseTo(10 ** (-expected / 10), 4);
    }
    const powers = found.map((each) => each.noise);
    expect(powers).toEqual(powers.toSorted((a, b) => b - a));
  });

  it('at the output of the layer itself is the noise of that product alone', async () => {
    const outputs = new Map([['layer1', 'MatMul_2_out']]);
    const switchable = await openSwitchable(chain(), sites, contextFor('measured'), { observe: [...outputs.values()] });
    const found = await localSensitivity(switchable, sites, { samples: { source: source(), limit: 3 }, context: silent, outputs });
    await switchable.close();
    const before = await outputsOfSamples(chain(new Map(), 2), 3);
    for (const { alternative, sqnr_db } of found) {
      const after = await outputsOfSamples(chain(new Map([['w1', roundedWeight(1, alternative)]]), 2), 3);
      expect(sqnr_db).toBeCloseTo(sqnr(before, after), 2);
    }
    expect(found.map(({ site }) => site)).toEqual(['layer1', 'layer1']);
  });

  it('of several sites together is what a model with all of them rounded shows', async () => {
    const switchable = await openSwitchable(chain(), sites, contextFor('measured'));
    const [fidelity] = await compareWithFloat(switchable, [new Map(sites.map(({ id }) => [id, 1]))], {
      samples: { source: source(), limit: SAMPLES },
      context: silent,
    });
    await switchable.close();
    const all = new Map(sites.map((_, at) => [`w${at}`, roundedWeight(at, 1)]));
    expect(fidelity?.sqnr_db).toBeCloseTo(sqnr(await outputsOfSamples(chain()), await outputsOfSamples(chain(all))), 2);
    expect(fidelity?.samples).toBe(SAMPLES);
  });

  it('takes samples in batches and no more of them than it is told', async () => {
    const switchable = await openSwitchable(chain(), sites, contextFor('measured'));
    const samples = source();
    const [fidelity] = await compareWithFloat(switchable, [new Map()], { samples: { source: samples, limit: 5 }, context: silent });
    await switchable.close();
    expect(fidelity).toMatchObject({ samples: 5, max_abs_error: 0 });
    expect(samples.taken.largest).toBeGreaterThan(1);
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const context = { signal: controller.signal, progress: () => controller.abort(new Error('enough')) };
    const switchable = await openSwitchable(chain(), sites, contextFor('measured'));
    await expect(layerSensitivity(switchable, sites, { samples: { source: source(), limit: SAMPLES }, context })).rejects.toThrow('enough');
    await switchable.close();
  });

  it('says what to do when no output is a float', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 8]);
    const index = builder.node('ArgMax', [builder.node('MatMul', [x, builder.constant('w0', noise([8, 8], 1))])]);
    index.type = { kind: 'tensor', dataType: 'int64', shape: null };
    builder.graph.outputs.push(index);
    const site = sites.slice(0, 1);
    const switchable = await openSwitchable(builder.model, site, contextFor('measured'));
    await expect(layerSensitivity(switchable, site, { samples: { source: source(), limit: 2 }, context: silent })).rejects.toThrow(
      /ArgMax/,
    );
    await switchable.close();
  });
});
