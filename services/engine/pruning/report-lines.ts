/** The report of a pruned model: widths, bytes and times of each layer. */
import { graphsWithin, type Model, type Node } from '../ir/index.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import type { LayerReport, MethodContext, NodeChange } from '../method.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { timesByName } from '../timing/kernel-times.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { weightsOf } from './budget/model-cost.js';
import { METHOD, type PruningStudy } from './pruning-study.js';
import type { PrunedModel } from './scheduled-pruning.js';

export interface LayerLines {
  readonly nodes: readonly NodeChange[];
  readonly layers: readonly LayerReport[];
}

const PROFILE_BUDGET_MS = 300;

/** A line for each layer that became narrower or was fitted anew. */
export async function describeLayers(study: PruningStudy, pruned: PrunedModel, context: MethodContext): Promise<LayerLines> {
  const { shapes } = await observeShapes(context.runtime, { model: pruned.model, feeds: study.feeds });
  const times = await layerTimes([study.model, pruned.model], study, context);
  const after = new Map(nodesOf(pruned.model).map((node) => [reportName(node), node] as const));
  const stores = { before: new WeightStore(study.model), after: new WeightStore(pruned.model) };
  const nodes: NodeChange[] = [];
  const layers: LayerReport[] = [];
  for (const node of nodesOf(study.model)) {
    const name = reportName(node);
    const now = after.get(name);
    if (!now || weightsOf(node, stores.before).length === 0) continue;
    const repair = pruned.repaired.find((line) => line.node === name);
    const widths = {
      outputs: widthsOf(node.outputs[0]?.name, study.shapes, shapes),
      inputs: widthsOf(node.inputs[0]?.name, study.shapes, shapes),
    };
    const bytes = { before: weightBytes(node, stores.before), after: weightBytes(now, stores.after) };
    const isNarrower = bytes.before !== bytes.after || widths.outputs !== undefined || widths.inputs !== undefined;
    if (!isNarrower && repair?.action !== 'changed') continue;
    const changes = [told('outputs', widths.outputs), told('inputs', widths.inputs), repair?.reason].flatMap((text) => text ?? []);
    const base = { node: name, op_type: node.opType };
    const reason = changes.length > 0 ? changes.join('; ') : `fewer units inside: ${bytes.before} bytes of weights -> ${bytes.after}`;
    nodes.push({ ...base, action: 'changed', by: METHOD, reason });
    layers.push({
      ...pruned.layers.find((line) => line.node === name),
      ...base,
      form: formOf(widths, isNarrower),
      ...{ bytes_before: bytes.before, bytes_after: bytes.after },
      ...timesOf(node, times),
    });
  }
  const untold = pruned.repaired.filter(({ node }) => !nodes.some((line) => line.node === node));
  return { nodes: [...pruned.branches, ...nodes, ...untold], layers };
}

function nodesOf(model: Model): Node[] {
  return [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes);
}

interface Change {
  readonly from: number;
  readonly to: number;
}

type Shapes = ReadonlyMap<string, readonly number[]>;

/** The axis along which a value became shorter. */
function widthsOf(name: string | undefined, before: Shapes, after: Shapes): Change | undefined {
  const [from, to] = [before.get(name ?? ''), after.get(name ?? '')];
  const axis = from?.findIndex((size, at) => to?.[at] !== undefined && to[at] !== size) ?? -1;
  return axis < 0 ? undefined : { from: from?.[axis] ?? 0, to: to?.[axis] ?? 0 };
}

function told(what: string, change: Change | undefined): string | undefined {
  return change && `${what} ${change.from} -> ${change.to}`;
}

function formOf({ outputs, inputs }: { outputs: Change | undefined; inputs: Change | undefined }, isNarrower: boolean): string {
  if (outputs) return `pruned ${outputs.from} -> ${outputs.to}`;
  if (inputs) return `inputs pruned ${inputs.from} -> ${inputs.to}`;
  return isNarrower ? 'pruned inside' : 'refitted';
}

function weightBytes(node: Node, store: WeightStore): number {
  return node.inputs.reduce((sum, input) => sum + (store.constant(input)?.tensor.data.byteLength ?? 0), 0);
}

type Times = ReadonlyMap<string, number>;

/** Kernel times by name before and after; none where nothing is timed. */
async function layerTimes(models: readonly Model[], { feeds }: PruningStudy, context: MethodContext): Promise<readonly Times[]> {
  if (context.objective === 'size' || !runsOnTarget(context)) return [];
  const profiles = await context.runtime.profile(models, feeds, { budgetMs: PROFILE_BUDGET_MS, signal: context.signal });
  return profiles.map(timesByName);
}

/** Convolutions are named after the value behind their activation once the runtime has fused them. */
function timesOf(node: Node, [before, after]: readonly Times[]): Pick<LayerReport, 'time_before_us' | 'time_after_us'> {
  const values = node.outputs.flatMap((value) => (value ? [value, ...value.consumers.flatMap(({ outputs }) => outputs)] : []));
  const names = [node.name, ...values.flatMap((value) => value?.name ?? [])];
  const found = (times: Times | undefined): number | undefined => names.map((name) => times?.get(name)).find((time) => time !== undefined);
  const [was, is] = [found(before), found(after)];
  return { ...(was === undefined ? {} : { time_before_us: was }), ...(is === undefined ? {} : { time_after_us: is }) };
}
