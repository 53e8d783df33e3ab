/** Ranges by what they do to the outputs: each is stretched and shrunk in turn, with everything else rounded as it is now. */
import type { MethodContext, SampleRun } from '../method.js';
import { type Answers, type OutputDistance, outputDistance } from './output-distance.js';
import { type Point, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { stretched } from './range-choice.js';
import type { Settings, SimulatedModel } from './simulated-model.js';

/** One step in either direction, and two. */
const FACTORS = [0.85, 1.18, 0.7, 1.4];

export interface SearchRequest {
  readonly plan: QuantizationPlan;
  readonly simulated: SimulatedModel;
  readonly runs: readonly SampleRun[];
  readonly reference: Answers;
  readonly distance: OutputDistance;
  readonly context: MethodContext;
}

/** Tensors in the order of what they decide: the cell first (methods.md 6.2). */
const order: readonly Point['role'][] = [
  'cell',
  'gates',
  'hidden',
  'input',
  'probabilities',
  'scores',
  'context',
  'projections',
  'activations',
];

export async function searchRanges(start: Settings, request: SearchRequest): Promise<Settings> {
  const { plan, context } = request;
  const places = pointsOf(plan)
    .toSorted((a, b) => order.indexOf(a.role) - order.indexOf(b.role))
    .flatMap((point) => slicesOf(point, plan).map((channels) => ({ point, channels })));
  let settings = start;
  let best = await distanceOf(start, request);
  for (const [at, { point, channels }] of places.entries()) {
    const range = settings.ranges.get(point.id);
    if (!range) continue;
    for (const factor of FACTORS) {
      const tried = withRange(settings, point.id, stretched(range, factor, channels));
      const found = await distanceOf(tried, request);
      if (found < best) [best, settings] = [found, tried];
    }
    context.progress((at + 1) / places.length, `Range of ${point.id}`);
  }
  return settings;
}

export async function distanceOf(settings: Settings, { simulated, runs, reference, distance, context }: SearchRequest): Promise<number> {
  return outputDistance(reference, await simulated.answers(settings, runs, context.signal), distance);
}

function withRange(settings: Settings, id: string, range: Settings['ranges'] extends ReadonlyMap<string, infer R> ? R : never): Settings {
  return { ...settings, ranges: new Map([...settings.ranges, [id, range]]) };
}

/** Gates are stretched one by one, whatever else as a whole. */
function slicesOf(point: Point, { recurrents }: QuantizationPlan): { from: number; to: number }[] {
  const owner = recurrents.find(({ directions }) => directions.some(({ gates, candidate }) => gates === point || candidate === point));
  const size = owner && point.channels > 1 ? owner.layer.hidden : point.channels;
  return Array.from({ length: point.channels / size }, (_, at) => ({ from: at * size, to: (at + 1) * size }));
}
