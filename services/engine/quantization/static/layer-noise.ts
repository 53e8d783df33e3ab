/** Noise of layers: each alone, and with everything before it on codes, on a few samples and a part of the values. */
import { strideFor } from '../../calibration/index.js';
import { localSensitivity } from '../../evaluation/layer-sensitivity.js';
import { OutputFidelityAccumulator } from '../../evaluation/output-fidelity.js';
import { type SampledValue, withSampledOutputs } from '../../evaluation/sampled-values.js';
import { openSwitchable } from '../../evaluation/switchable-model.js';
import { float32Values, type Model } from '../../ir/index.js';
import type { LayerReport, MethodContext } from '../../method.js';
import type { IntegerUnit } from './integer-units.js';
import { layerSites } from './layer-sites.js';
import type { QuantizedParts } from './static-candidate.js';

export type LayerNoise = Pick<LayerReport, 'sqnr_db' | 'cosine' | 'sqnr_local_db'>;

export interface LayerNoiseRequest {
  /** The float model that was calibrated. */
  readonly float: Model;
  /** The quantized one, with every float value between pairs. */
  readonly observable: Model;
  /** Layers that compute on codes. */
  readonly units: readonly IntegerUnit[];
  readonly parts: QuantizedParts;
  /** Values of a tensor in one run, by name. */
  readonly sizes: ReadonlyMap<string, number>;
}

/** Enough for one decimal of a signal to noise ratio over the values of a layer. */
const SAMPLES = 4;
const VALUES_PER_SAMPLE = 2 ** 14;
/** Noise of single layers costs a run for each: what takes longer in all is left out of the report. */
const LOCAL_NOISE_MS_MAX = 400;

/** By unit. */
export async function layerNoise(request: LayerNoiseRequest, context: MethodContext): Promise<Map<string, LayerNoise>> {
  const { noise: accumulated, runMs } = await accumulatedNoise(request, context);
  const samples = Math.min(SAMPLES, Math.floor(LOCAL_NOISE_MS_MAX / (runMs * request.units.length)));
  const local = samples > 0 ? await localNoise(request, samples, context) : new Map<string, LayerNoise>();
  return new Map(request.units.map(({ name }) => [name, { ...local.get(name), ...accumulated.get(name) }] as const));
}

/** Results of layers; what their readers cannot tell apart is no noise. */
function sampledValues({ units, sizes }: LayerNoiseRequest): SampledValue[] {
  return units.map(({ output, bounds }) => ({
    name: output.name,
    stride: strideFor(sizes.get(output.name) ?? 1, VALUES_PER_SAMPLE),
    ...bounds,
  }));
}

async function localNoise(request: LayerNoiseRequest, limit: number, context: MethodContext): Promise<Map<string, LayerNoise>> {
  const { calibration } = context;
  if (!calibration) return new Map();
  const { units, parts, float } = request;
  const sites = layerSites(units, parts);
  const sampled = withSampledOutputs(float, sampledValues(request));
  const outputs = new Map(
    units.flatMap(({ name, output }) => (sampled.outputs.has(output.name) ? [[name, sampled.outputs.get(output.name) ?? '']] : [])),
  );
  const switchable = await openSwitchable(sampled.model, sites, context);
  try {
    const quiet = { signal: context.signal, progress: () => undefined };
    const source = { ...calibration, fixedBatch: calibration.fixedBatch ?? 1 };
    const found = await localSensitivity(switchable, sites, { samples: { source, limit }, context: quiet, outputs });
    return new Map(found.map(({ site, sqnr_db }) => [site, { sqnr_local_db: sqnr_db }] as const));
  } finally {
    await switchable.close();
  }
}

async function accumulatedNoise(
  request: LayerNoiseRequest,
  context: MethodContext,
): Promise<{ noise: Map<string, LayerNoise>; runMs: number }> {
  const values = sampledValues(request);
  const [before, after] = [withSampledOutputs(request.float, values), withSampledOutputs(request.observable, values)];
  const reference = await context.runtime.open(before.model);
  const artifact = await context.runtime.open(after.model).catch(async (error: unknown) => {
    await reference.close();
    throw error;
  });
  const sums = new Map(request.units.map(({ name }) => [name, new OutputFidelityAccumulator()] as const));
  let runMs = Number.POSITIVE_INFINITY;
  try {
    for await (const { feeds } of context.calibration?.runs(1, SAMPLES) ?? []) {
      const started = performance.now();
      const expected = await reference.run(feeds, [...before.outputs.values()]);
      runMs = Math.min(runMs, performance.now() - started);
      const actual = await artifact.run(feeds, [...after.outputs.values()]);
      for (const { name, output } of request.units) {
        const [exact, rounded] = [expected.get(before.outputs.get(output.name) ?? ''), actual.get(after.outputs.get(output.name) ?? '')];
        if (exact && rounded) sums.get(name)?.add(float32Values(exact), float32Values(rounded));
      }
    }
  } finally {
    await reference.close();
    await artifact.close();
  }
  return { noise: new Map([...sums].map(([name, sum]) => [name, noiseFields(sum)] as const)), runMs };
}

function noiseFields({ result: { sqnr_db, cosine } }: OutputFidelityAccumulator): LayerNoise {
  return { ...(sqnr_db === null ? {} : { sqnr_db }), ...(cosine === null ? {} : { cosine }) };
}
