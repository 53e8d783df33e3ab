/** Repair without labels: layer by layer, the pruned network learns to give what the original gave, by least squares. */
import { elementCount, type Model, type Node, type Value } from '../../ir/index.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import type { LayerReport, MethodContext, NodeChange, RunSource } from '../../method.js';
import type { Survivors } from '../structure/pruning-structure.js';
import { fitPass, type Repair } from './fit-pass.js';
import { type NetworkErrors, networkErrors, outputShapes } from './network-errors.js';
import { isNormalization, normalizationSite } from './normalization-site.js';
import { recurrentSite } from './recurrent-site.js';
import { RepairSchedule } from './repair-schedule.js';
import { layerSite, type RepairSite } from './repair-site.js';
import { weightSnapshot } from './weight-snapshot.js';

export interface RepairRequest {
  /** The network before pruning; it is not changed. */
  readonly original: Model;
  /** A pruned copy with the same names of nodes and values; its weights are replaced. */
  readonly pruned: Model;
  /** What remains of the constants of `original`. */
  readonly survivors: Survivors;
  readonly samples: RunSource;
  /** What the errors are measured on. Default: `samples`. */
  readonly judged?: RunSource;
  /** Only so many layers one after the other, the first that differ. Default: all. */
  readonly depth?: number;
}

export interface RepairOutcome {
  /** A line for each layer: refitted, compensated, or left alone and why. */
  readonly nodes: readonly NodeChange[];
  /** Of the layers that were changed, in order: `sqnr_db` is that of the layer's output against the original network. */
  readonly layers: readonly LayerReport[];
  /** Squared error of the outputs over the square of the original's, before and after. */
  readonly error: { readonly before: number; readonly after: number };
}

/** A layer whose relative squared error is less computes what it did: the rest is rounding. */
const EXACT = 1e-9;

/**
 * Sequential least squares (methods.md 3.12): in topological order each layer is solved anew for the original's outputs, from the
 * activations of the pruned network so far. When the outputs of the model are no closer to the original's in the end, nothing changes.
 * Throws EngineError `runtime_failed` when a model does not run on the samples.
 */
export async function repairLayers(request: RepairRequest, context: MethodContext): Promise<RepairOutcome> {
  const { original, pruned, samples } = request;
  const { sites, left } = findSites(request);
  const network = { original, pruned, sites, samples: request.judged ?? samples };
  if (sites.length === 0) return { nodes: left, layers: [], error: { before: 0, after: 0 } };
  const shapes = await outputShapes(network, context);
  const before = await networkErrors(network, context);
  const changed = sites.filter((site) => (before.bySite.get(site) ?? 0) > EXACT);
  const snapshot = weightSnapshot(pruned);
  const repairs = await repairInOrder({ ...request, sites: changed, shapes }, context);
  const after = await networkErrors(network, context);
  const error = { before: before.outputs, after: after.outputs };
  if (after.outputs > before.outputs || (Number.isNaN(after.outputs) && !Number.isNaN(before.outputs))) {
    snapshot.restore();
    const reason = 'its weights stay: repairing the layers brought the outputs of the model no closer to those of the original';
    return {
      nodes: [...changed.map((site) => line(site, 'left', reason)), ...left],
      layers: [],
      error: { ...error, after: before.outputs },
    };
  }
  return { ...describe(sites, { repairs, before, after }, left), error };
}

interface OrderedRequest extends RepairRequest {
  readonly sites: readonly RepairSite[];
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

async function repairInOrder(
  { sites, shapes, depth = Number.POSITIVE_INFINITY, ...request }: OrderedRequest,
  context: MethodContext,
): Promise<Map<RepairSite, Repair>> {
  const shapeOf = (value: Value): string | undefined => shapes.get(value.name)?.join();
  const schedule = new RepairSchedule(request.pruned.graph, sites, (sum, output) => shapeOf(sum) === shapeOf(output));
  const rowsOf = new Map(
    sites.flatMap((site) => {
      const shape = site.output && shapes.get(site.output.name);
      return shape ? [[site, elementCount(shape) / (site.groups * site.outputs)] as const] : [];
    }),
  );
  const repairs = new Map<RepairSite, Repair>();
  let tasks = schedule.next();
  for (let pass = 0; pass < depth && tasks.length > 0; pass += 1, tasks = schedule.next()) {
    context.signal.throwIfAborted();
    for (const [site, repair] of await fitPass({ ...request, tasks, rowsOf }, context)) repairs.set(site, repair);
    context.progress(repairs.size / sites.length, `repaired ${repairs.size} of ${sites.length} layers`);
  }
  return repairs;
}

const recurrentOperators: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);
const layerOperators: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'MatMul', 'Gemm']);

function findSites({ original, pruned, survivors }: RepairRequest): { sites: RepairSite[]; left: NodeChange[] } {
  const store = new WeightStore(pruned);
  const originalStore = new WeightStore(original);
  const twins = new Map(original.graph.nodes.map((node) => [reportName(node), node] as const));
  const sites: RepairSite[] = [];
  const left: NodeChange[] = [];
  for (const node of pruned.graph.nodes) {
    const twin = twins.get(reportName(node));
    if (!twin || node.domain !== '' || !hasWeights(node, store)) continue;
    const original = { node: twin, store: originalStore };
    for (const each of sitesOf(node, { store, original, survivors })) {
      if ('reason' in each) left.push(line({ node, name: reportName(node) }, 'left', `not repaired: ${each.reason}`));
      else sites.push(each);
    }
  }
  return { sites, left };
}

function sitesOf(
  node: Node,
  { store, original, survivors }: Omit<Parameters<typeof recurrentSite>[0], 'node' | 'index'>,
): ReturnType<typeof recurrentSite>[] {
  if (recurrentOperators.has(node.opType))
    return ([1, 2] as const).map((index) => recurrentSite({ node, index, store, original, survivors }));
  return [isNormalization(node) ? normalizationSite(node, store, survivors) : layerSite(node, store, survivors)];
}

function hasWeights(node: Node, store: WeightStore): boolean {
  if (!recurrentOperators.has(node.opType) && !layerOperators.has(node.opType) && !isNormalization(node)) return false;
  return node.inputs.slice(1).some((input) => store.constant(input) !== undefined);
}

interface Findings {
  readonly repairs: ReadonlyMap<RepairSite, Repair>;
  readonly before: NetworkErrors;
  readonly after: NetworkErrors;
}

const UNCHANGED = 'it computes what it did';
const NOT_FINITE = 'what it computes on the samples is not finite';

function describe(
  sites: readonly RepairSite[],
  { repairs, before, after }: Findings,
  left: readonly NodeChange[],
): Pick<RepairOutcome, 'nodes' | 'layers'> {
  const percent = (share = 0): string => `${(100 * share).toPrecision(3)} %`;
  const nodes = sites.map((site) => {
    const repair = repairs.get(site);
    if (!repair) return line(site, 'left', `not repaired: ${Number.isFinite(before.bySite.get(site)) ? UNCHANGED : NOT_FINITE}`);
    const errors = `error of its outputs ${percent(before.bySite.get(site))} -> ${percent(after.bySite.get(site))}`;
    if (repair.kind === 'refitted') return line(site, 'changed', `refitted to the original (ridge ${repair.ridge}): ${errors}`);
    const what = repair.kind === 'compensated' ? 'means compensated in its bias' : 'its weights stay';
    return line(site, repair.kind === 'compensated' ? 'changed' : 'left', `${what}, as ${repair.why}: ${errors}`);
  });
  const layers = sites.flatMap((site): LayerReport[] => {
    const error = after.bySite.get(site) ?? 0;
    if (!repairs.has(site) || !(error > 0)) return [];
    return [{ node: site.name, op_type: site.node.opType, form: 'float32', sqnr_db: -10 * Math.log10(error) }];
  });
  return { nodes: [...nodes, ...left], layers };
}

function line({ node, name }: Pick<RepairSite, 'node' | 'name'>, action: NodeChange['action'], reason: string): NodeChange {
  return { node: name, op_type: node.opType, action, by: 'structured-pruning', reason };
}
