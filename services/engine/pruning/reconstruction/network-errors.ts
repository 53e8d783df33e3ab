/** How far the pruned network is from the original, at its outputs and at those of its layers, on a few samples. */
import { float32Values, integerValues, type Model, type Value } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { ProbeGraph } from '../../normal-equations/probe-graph.js';
import { runAll } from '../../normal-equations/row-sums.js';
import { sumsBehind } from './layer-tail.js';
import { type PairedModels, pairModels } from './paired-probe.js';
import type { RepairSite, Sides } from './repair-site.js';

export interface NetworkRequest {
  readonly original: Model;
  readonly pruned: Model;
  readonly sites: readonly RepairSite[];
  readonly samples: RunSource;
}

export interface NetworkErrors {
  /** Squared error over the square of what the original computes; by site. */
  readonly bySite: ReadonlyMap<RepairSite, number>;
  /** The same of all float32 outputs of the model; 0 when it has none. */
  readonly outputs: number;
}

const SAMPLES = 64;
const SAMPLES_PER_RUN = 16;

/** Sums leave the runtime, not the activations. */
export async function networkErrors({ original, pruned, sites, samples }: NetworkRequest, context: MethodContext): Promise<NetworkErrors> {
  const pair = pairModels(pruned, original);
  const probe = new ProbeGraph(pair.model);
  const ofSites = sites.map((site) => squares(probe, site.sides(probe, pair, null)));
  const ofOutputs = pruned.graph.outputs.flatMap((output) => outputSides(probe, pair, output)).map((sides) => squares(probe, sides));
  const sums = new Map<SquareNames, { error: number; power: number }>(
    [...ofSites, ...ofOutputs].map((names) => [names, { error: 0, power: 0 }]),
  );
  await runAll({ model: probe.pruned(), samples, size: SAMPLES_PER_RUN, context, limit: SAMPLES }, (fetched) => {
    const total = (name: string): number => {
      const tensor = fetched.get(name);
      return tensor ? float32Values(tensor).reduce((sum, value) => sum + value, 0) : 0;
    };
    for (const [{ error, power }, sum] of sums) {
      sum.error += total(error);
      sum.power += total(power);
    }
  });
  const relative = (names: readonly SquareNames[]): number => {
    const all = names.map((each) => sums.get(each) ?? { error: 0, power: 0 });
    const [error, power] = [all.reduce((sum, each) => sum + each.error, 0), all.reduce((sum, each) => sum + each.power, 0)];
    return power > 0 ? error / power : error;
  };
  return { bySite: new Map(sites.map((site, at) => [site, relative(ofSites.slice(at, at + 1))])), outputs: relative(ofOutputs) };
}

interface SquareNames {
  readonly error: string;
  readonly power: string;
}

function outputSides(probe: ProbeGraph, pair: PairedModels, { name, type }: Value): Sides[] {
  const [current, target] = [probe.value(name), probe.value(pair.nameInOriginal(name))];
  if (!current || !target || current === target || type?.kind !== 'tensor' || type.dataType !== 'float32') return [];
  return [{ current: probe.reshape(current, [1, 1, -1]), target: probe.reshape(target, [1, 1, -1]) }];
}

/** Means of squares over the last axis of [g, O, rows]. */
function squares(probe: ProbeGraph, { target, current }: Sides): SquareNames {
  const error = probe.node('Sub', [target, current]);
  const mean = (value: Value): string => probe.output(probe.node('GlobalAveragePool', [probe.node('Mul', [value, value])]), 'float32');
  return { error: mean(error), power: mean(target) };
}

/** Sizes of one sample of the outputs of sites and of the sums behind them, by name; values that the graph does not show are missing. */
export async function outputShapes(
  { pruned, sites, samples }: Omit<NetworkRequest, 'original'>,
  context: MethodContext,
): Promise<Map<string, readonly number[]>> {
  const probe = new ProbeGraph(pruned);
  const names = new Map<string, string>();
  for (const { output } of sites) {
    if (!output) continue;
    for (const { sum } of sumsBehind(output, pruned.graph)) {
      const value = probe.value(sum.name);
      if (value) names.set(probe.output(probe.node('Shape', [value]), 'int64'), sum.name);
    }
  }
  const shapes = new Map<string, readonly number[]>();
  if (names.size === 0) return shapes;
  await runAll({ model: probe.pruned(), samples, size: 1, context, limit: 1 }, (fetched) => {
    for (const [shape, name] of names) {
      const tensor = fetched.get(shape);
      if (tensor) shapes.set(name, integerValues(tensor));
    }
  });
  return shapes;
}
