/** How long a model takes as a function of how many units its groups have lost, from times of its layers on this machine. */
import { graphsWithin, type Model, type Node } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext } from '../../method.js';
import { timesByName } from '../../timing/kernel-times.js';
import { sampleFeeds } from '../../timing/observed-activations.js';
import { weightsOf } from '../budget/model-cost.js';
import { standInSizes } from '../budget/stand-in-costs.js';
import type { Removal, ValueSizes } from '../budget/value-sizes.js';
import { removalOf } from '../budget/width-problem.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import { LatencyTable, type WantedTimes } from './latency-table.js';
import { type LayerForm, type LayerWidths, layerForm } from './layer-form.js';
import { interpolated } from './width-grid.js';

export interface TimeRequest {
  readonly model: Model;
  readonly sizes: ValueSizes;
  readonly orders: readonly RemovalOrder[];
  /** Allowed steps by order. */
  readonly ladders: readonly (readonly number[])[];
  /** Sizes of values by name, for one run. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** A layer whose width depends on groups, or that goes with a branch. */
interface TimedLayer {
  /** Of the model as it is; undefined for a layer that stands in for a branch. */
  readonly node?: Node;
  readonly form: LayerForm;
  widths(removed: Removal): LayerWidths;
  isThere(removed: Removal): boolean;
}

/** Widths that are timed for all layers together, and along one axis of one layer. */
const TIMED_MAX = 400;
const POINTS_MAX = 6;
const POINTS_MIN = 2;
const PROFILE_BUDGET_MS = 300;

/** Microseconds of one run; undefined where layers could not be timed. */
export interface ModelTime {
  readonly source: number;
  at(removed: Removal): number;
}

/** Undefined when the model does not run on any inputs that are known, or when no layer could be timed. */
export async function measureModelTime(request: TimeRequest, context: MethodContext): Promise<ModelTime | undefined> {
  const layers = [...timedLayers(request), ...standInLayers(request)];
  if (layers.length === 0) return undefined;
  const forms = new Set(layers.map(({ form }) => form.key)).size;
  const points = Math.max(POINTS_MIN, Math.min(POINTS_MAX, Math.floor(Math.sqrt(TIMED_MAX / forms))));
  const grids = layers.map((layer) => gridOf(layer, request, points));
  const wanted: WantedTimes[] = layers.map(({ form }, at) => ({ form, widths: grids[at]?.all ?? [] }));
  const table = await LatencyTable.measure(wanted, context);
  const rest = await timesOfOthers(request, new Set(layers.flatMap(({ node }) => node ?? [])), context);
  if (!rest) return undefined;
  const terms = layers.map(({ form, widths, isThere }, at) => {
    const { ins = [], outs = [] } = grids[at] ?? {};
    const time = (each: LayerWidths): number | undefined => table.time(form, each);
    return (removed: Removal) => (isThere(removed) ? (interpolated({ ins, outs, time }, widths(removed)) ?? 0) : 0);
  });
  const at = (removed: Removal): number => terms.reduce((sum, term) => sum + term(removed), rest(removed));
  const source = at([]);
  return source > 0 ? { source, at } : undefined;
}

function timedLayers({ model, orders, shapes, sizes }: TimeRequest): TimedLayer[] {
  const store = new WeightStore(model);
  const groups = orders.map(({ group }) => group);
  const losesGroups = new Set(groups.filter(({ kind }) => kind === 'groups').flatMap(({ producers }) => producers));
  return [...graphsWithin(model.graph)].flatMap((graph) =>
    graph.nodes.flatMap((node): TimedLayer[] => {
      const [weight] = weightsOf(node, store);
      const inputDims = shapes.get(node.inputs[0]?.name ?? '');
      if (!weight || !inputDims || weight.value !== node.inputs[1] || sizes.groupsIn(weight.value, node).size === 0) return [];
      const form = layerForm({ node, weightDims: weight.tensor.dims, inputDims, losesGroups: losesGroups.has(node) });
      const dims = sizes.dimsOf(weight.value, weight.tensor.dims, node);
      const kept = sizes.keptOf(weight.value, node);
      return form ? [{ node, form, widths: (removed) => form.widths(dims(removed)), isThere: (removed) => kept(removed) > 0 }] : [];
    }),
  );
}

function standInLayers(request: TimeRequest): TimedLayer[] {
  return standInSizes(request).flatMap(({ node, weightDims, inputDims, dims, whole }): TimedLayer[] => {
    const form = layerForm({ node, weightDims, inputDims, losesGroups: false });
    if (!form) return [];
    return [{ form, widths: (removed) => form.widths(whole(removed)), isThere: (removed) => dims(removed) !== undefined }];
  });
}

interface LayerGrid {
  readonly ins: readonly number[];
  readonly outs: readonly number[];
  readonly all: readonly LayerWidths[];
}

/** The widths of a layer when all groups stand equally far down their ladders, at `points` places; in and out freely combined. */
function gridOf({ widths }: TimedLayer, { orders, ladders }: TimeRequest, points: number): LayerGrid {
  const along = Array.from({ length: points }, (_, point) => {
    const steps = ladders.map((ladder) => ladder[Math.round((point / (points - 1)) * (ladder.length - 1))] ?? 0);
    return widths(removalOf(orders, steps));
  });
  const ascending = (values: readonly number[]): number[] => [...new Set(values)].sort((a, b) => a - b);
  const [ins, outs] = [ascending(along.map((each) => each.in)), ascending(along.map(({ out }) => out))];
  return { ins, outs, all: ins.flatMap((channels) => outs.map((out) => ({ in: channels, out }))) };
}

/** Kernels that compute layers, under whatever name: what is not timed by itself stays out of the rest, too. */
const layerKernels = /^(Nhwc)?(Fused)?(Conv|ConvTranspose|Gemm|LSTM|GRU|RNN)$|^Reorder/;

/** The other nodes, each in proportion to what remains of its results. */
async function timesOfOthers(
  { model, sizes }: TimeRequest,
  timed: ReadonlySet<Node>,
  context: MethodContext,
): Promise<((removed: Removal) => number) | undefined> {
  const kernels = await profileOf(model, context);
  if (!kernels) return undefined;
  const times = timesByName(kernels.filter(({ opType }) => !layerKernels.test(opType)));
  const terms: ((removed: Removal) => number)[] = [];
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      const names = new Set([node.name, ...node.outputs.map((value) => value?.name ?? '')]);
      const time = [...names].reduce((sum, name) => sum + (times.get(name) ?? 0), 0);
      const [result] = node.outputs;
      if (timed.has(node) || time === 0) continue;
      const kept = result ? sizes.keptOf(result) : () => 1;
      terms.push((removed) => time * kept(removed));
    }
  }
  return (removed) => terms.reduce((sum, term) => sum + term(removed), 0);
}

async function profileOf(model: Model, context: MethodContext) {
  for await (const feeds of sampleFeeds(model, context)) {
    try {
      const [kernels] = await context.runtime.profile([model], feeds, { budgetMs: PROFILE_BUDGET_MS, signal: context.signal });
      return kernels;
    } catch {
      // Inputs that were made up may be refused; the next ones follow.
      context.signal.throwIfAborted();
    }
  }
  return undefined;
}
