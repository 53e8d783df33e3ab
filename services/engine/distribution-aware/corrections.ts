/** What rounding shifts on average is taken back: biases of gates and projections by their means, the head by least squares. */
import { cloneModel, float32Values, type Model } from '../ir/index.js';
import { toRows } from '../layers/channel-layout.js';
import type { MethodContext, SampleRun } from '../method.js';
import { type FittedHead, HeadFit, headBias } from './head-fit.js';
import type { Observation } from './observed-points.js';
import type { Head, Point, QuantizationPlan } from './quantization-plan.js';
import { roundWeight, type Settings, type SimulatedModel } from './simulated-model.js';

interface Correction {
  readonly plan: QuantizationPlan;
  /** Shows its points. */
  readonly simulated: SimulatedModel;
  readonly runs: readonly SampleRun[];
  readonly context: MethodContext;
}

/** b += E[y] - E[y'] by channel, y' with everything before it rounded (methods.md 3.2). */
export async function correctBiases(
  start: Settings,
  float: Observation,
  { plan, simulated, runs, context }: Correction,
): Promise<Settings> {
  const shifted = biasesOf(plan);
  const sums = new Map(
    shifted.map(({ point }) => [`point ${point.id}`, { sums: new Float64Array(point.channels), rows: 0, channels: point.channels }]),
  );
  for await (const shown of simulated.shown(start, [...sums.keys()], runs, context.signal))
    for (const [key, values] of shown) {
      const record = sums.get(key);
      if (!record) continue;
      for (let at = 0; at < values.length; at += 1) {
        const channel = at % record.channels;
        record.sums[channel] = (record.sums[channel] ?? 0) + (values[at] ?? 0);
      }
      record.rows += values.length / record.channels;
    }
  const biases = new Map(start.biases);
  for (const { point, name, offset } of shifted) {
    const record = sums.get(`point ${point.id}`);
    const means = float.means.get(point.id);
    const bias = biases.get(name) ?? simulated.floatBias(name);
    if (!record || !means || !bias || record.rows === 0) continue;
    const moved = Float32Array.from(bias);
    for (const [channel, mean] of means.entries())
      moved[offset + channel] = (moved[offset + channel] ?? 0) + mean - (record.sums[channel] ?? 0) / record.rows;
    biases.set(name, moved);
  }
  return { ...start, biases };
}

/** Points whose channels have a bias of their own, and where in the vector it begins. */
function biasesOf({ recurrents, values, biases }: QuantizationPlan): { point: Point; name: string; offset: number }[] {
  const ofGates = recurrents.flatMap(({ directions, bias, layer: { gates, hidden } }) =>
    directions.flatMap(({ gates: gate, candidate }, at) => {
      const offset = at * 2 * gates * hidden;
      const points = [
        { point: gate, name: bias, offset },
        ...(candidate ? [{ point: candidate, name: bias, offset: offset + (gates - 1) * hidden }] : []),
      ];
      return points.filter(({ point }) => point.channels > 1);
    }),
  );
  const ofValues = values.flatMap(({ point }) => {
    const name = biases.get(point.id);
    return name !== undefined && point.channels > 1 ? [{ point, name, offset: 0 }] : [];
  });
  return [...ofGates, ...ofValues];
}

/** Every head fitted to the float outputs and rounded again; what was rounded away on average goes into its bias. */
export async function refitHeads(start: Settings, model: Model, { plan, simulated, runs, context }: Correction): Promise<Settings> {
  const heads = plan.heads.filter(
    (head) => headBias(head) !== null && head.dense.integerObstacle === null && head.dense.weight.value.consumers.length === 1,
  );
  if (heads.length === 0) return start;
  const fits = new Map(heads.map((head) => [head, new HeadFit(head.dense.depth, head.dense.channels)]));
  const targets = floatHeads(model, heads, runs, context);
  for await (const shown of simulated.shown(
    start,
    heads.map(({ output }) => `head ${output}`),
    runs,
    context.signal,
  )) {
    const expected = (await targets.next()).value as ReadonlyMap<string, Float32Array> | undefined;
    for (const [head, fit] of fits) {
      const features = shown.get(`head ${head.output}`);
      const target = expected?.get(head.output);
      if (features && target) fit.add({ features, targets: target });
    }
  }
  let settings = start;
  for (const [head, fit] of fits) settings = withHead(settings, plan, { head, fit });
  return settings;
}

async function* floatHeads(
  model: Model,
  heads: readonly Head[],
  runs: readonly SampleRun[],
  context: MethodContext,
): AsyncGenerator<ReadonlyMap<string, Float32Array>> {
  const copy = cloneModel(model);
  const values = new Map(
    copy.graph.nodes.flatMap(({ outputs }) => outputs.flatMap((value) => (value ? [[value.name, value] as const] : []))),
  );
  const names = heads.map(({ output }) => output);
  for (const name of names) {
    const value = values.get(name);
    if (value && !copy.graph.isOutput(value)) copy.graph.outputs.push(value);
  }
  const session = await context.runtime.open(copy);
  try {
    for (const { feeds } of runs) {
      const outputs = await session.run(feeds, names);
      yield new Map([...outputs].map(([name, tensor]) => [name, float32Values(tensor)]));
    }
  } finally {
    await session.close();
  }
}

function withHead(settings: Settings, plan: QuantizationPlan, { head, fit }: { head: Head; fit: HeadFit }): Settings {
  const planned = plan.weights.find(({ constant }) => constant === head.dense.weight);
  const bias = headBias(head);
  if (!planned || !bias) return settings;
  const fitted: FittedHead | null = fit.solve(toRows(float32Values(planned.constant.tensor), planned.layout));
  if (!fitted) return settings;
  const name = planned.constant.value.name;
  const rounded = roundWeight(planned, settings.weights.get(name)?.bits ?? 8, fitted.rows);
  const rows = Float64Array.from(rounded.codes, (code, at) => code * (rounded.scales[Math.floor(at / head.dense.depth)] ?? 1));
  return {
    ...settings,
    weights: new Map([...settings.weights, [name, rounded]]),
    biases: new Map([...settings.biases, [bias.name, Float32Array.from(fit.biasOf(rows))]]),
  };
}
