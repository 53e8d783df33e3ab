/** Calibration results kept between jobs: the same tensors, options and samples of the same model are not run twice. */
import { type CalibrationRequest, type CalibrationResult, type ChannelStatistics, calibrate, type TensorStatistics } from './calibrate.js';
import { modelFingerprint } from './model-fingerprint.js';

/** As `calibrate`; with a cache in the context, a result of before is taken, and a new one is kept. An entry that cannot be read is none. */
export async function cachedCalibration(request: CalibrationRequest): Promise<CalibrationResult> {
  const { calibrationCache: cache } = request.context;
  if (!cache) return calibrate(request);
  const key = keyOf(request);
  const known = await cache.get(key);
  const result = known === undefined ? undefined : parsed(known);
  if (result) return { ...result, summary: { ...result.summary, from_cache: true } };
  const made = await calibrate(request);
  await cache.put(key, JSON.stringify({ tensors: [...made.tensors].map(([name, each]) => [name, plain(each)]), summary: made.summary }));
  return made;
}

/** The data set is known to the cache. The model is not the source any more: steps before changed it, and steps to come may do so again. */
function keyOf({ model, tensors, options, channels, levels, moments = false }: CalibrationRequest): string {
  const wanted = { tensors: [...tensors].sort(), options, channels: [...(channels ?? [])].sort(), levels, moments };
  return JSON.stringify({ model: modelFingerprint(model), ...wanted });
}

function plain({ channels, ...rest }: TensorStatistics): object {
  return channels
    ? { ...rest, channels: Object.fromEntries(Object.entries(channels).map(([name, values]) => [name, Array.from(values)])) }
    : rest;
}

function parsed(text: string): CalibrationResult | undefined {
  try {
    const { tensors, summary } = JSON.parse(text) as {
      tensors: [string, TensorStatistics & { channels?: Record<keyof ChannelStatistics, number[]> }][];
      summary: CalibrationResult['summary'];
    };
    return { summary, tensors: new Map(tensors.map(([name, each]) => [name, revived(each)])) };
  } catch {
    return undefined;
  }
}

function revived({
  channels,
  ...rest
}: TensorStatistics & { channels?: Record<keyof ChannelStatistics, ArrayLike<number>> }): TensorStatistics {
  return channels ? { ...rest, channels: { mean: Float64Array.from(channels.mean), power: Float64Array.from(channels.power) } } : rest;
}
