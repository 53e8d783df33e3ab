/** Surgery on residual branches, in place; and its oracle, the model in which they give nothing. */
import { elementCount, float32Tensor, type Graph, type Model, type Node, type Value } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { Counterparts } from './counterpart.js';
import type { Survivors } from './pruning-structure.js';
import { type BranchForm, type ResidualBranch, type StandIn, standInDims } from './residual-branches.js';

export interface ReducedBranch {
  readonly branch: ResidualBranch;
  readonly form: BranchForm;
}

export interface BranchScope {
  /** Of the model that was analysed. */
  readonly twins: Counterparts;
  /** Of the units that have been removed. */
  readonly survivors: Survivors;
}

/**
 * 'closed': the sum becomes its other term. 'linear': one layer stands in for those of the branch, with weights of zeros, for a repair
 * to fit. Returns the survivors with those of the weights that are new.
 */
export function reduceBranches(model: Model, reduced: readonly ReducedBranch[], scope: BranchScope): Survivors {
  const { twins } = scope;
  const all = new Map(scope.survivors);
  for (const { branch, form } of reduced) {
    if (twins.node(branch.sum).graph !== model.graph) continue;
    if (form === 'closed' || !branch.standIn) close(model.graph, branch, twins);
    else for (const [name, axes] of linearBranch(model, { ...branch, standIn: branch.standIn }, scope)) all.set(name, axes);
  }
  const store = new WeightStore(model);
  for (const constant of store.all()) store.dropIfUnread(constant);
  return all;
}

/**
 * Where nothing else reads the other term, the layer that makes it takes over the name of the sum, so that a repair fits it to the sum of
 * the original.
 */
function close(graph: Graph, branch: ResidualBranch, twins: Counterparts): void {
  const sum = twins.node(branch.sum);
  const [other, result] = [sum.inputs[1 - branch.index], sum.outputs[0]];
  if (!other || !result) return;
  graph.remove([sum]);
  removeNodes(graph, branch.nodes, twins);
  const place = placeOf(other, result, graph);
  if (place) place.node.setOutput(place.at, result);
  else for (const { node, index } of result.uses) node.setInput(index, other);
}

/** Which output the sum becomes: the other term, or, as max(0, max(0, x)) is max(0, x), what its Relu reads. */
function placeOf(other: Value, result: Value, graph: Graph): { readonly node: Node; readonly at: number } | undefined {
  const { producer } = other;
  if (!producer || producer.graph !== graph || other.isRead || graph.isOutput(other)) return undefined;
  const [before] = producer.inputs;
  const isDouble = isRelu(producer) && result.consumers.every(isRelu);
  const isFree = before?.producer?.graph === graph && before.uses.length === 1 && !graph.isOutput(before);
  if (!isDouble || !before?.producer || !isFree) return { node: producer, at: producer.outputs.indexOf(other) };
  graph.remove([producer]);
  return { node: before.producer, at: before.producer.outputs.indexOf(before) };
}

function isRelu({ opType, domain }: Node): boolean {
  return opType === 'Relu' && domain === '';
}

/** The last layer of the branch reads what the first one read; its bias and what follows it stay. */
function linearBranch(
  model: Model,
  { nodes, standIn }: ResidualBranch & { readonly standIn: StandIn },
  { twins, survivors }: BranchScope,
): Survivors {
  const store = new WeightStore(model);
  const [first, last] = [twins.node(standIn.first), twins.node(standIn.last)];
  const [input] = first.inputs;
  const [weights, target] = [store.constant(first.inputs[1]), store.constant(last.inputs[1])];
  const window = standIn.window && twins.node(standIn.window);
  if (!input || !weights || !target) return new Map();
  const dims = standInDims(weights.tensor.dims, target.tensor.dims, window && store.constant(window.inputs[1])?.tensor.dims);
  const zeros = float32Tensor(dims, new Float32Array(elementCount(dims)));
  const { value } = store.add(target, '_linear', zeros);
  const kept = survivors.get(target.value.name)?.get(window ? 0 : 1);
  last.setInput(0, input);
  last.setInput(1, value);
  if (window) adoptWindow(last, window);
  const staying = new Set([...standIn.around, standIn.last]);
  removeNodes(
    model.graph,
    nodes.filter((node) => !staying.has(node)),
    twins,
  );
  return new Map(kept ? [[value.name, new Map([[window ? 0 : 1, kept]])]] : []);
}

const windowAttributes = ['kernel_shape', 'strides', 'pads', 'dilations', 'auto_pad'] as const;

function adoptWindow(last: Node, window: Node): void {
  const adopted = windowAttributes.map((name) => [name, window.attributes.get(name)] as const);
  for (const [name, attribute] of adopted) {
    if (attribute) last.attributes.set(name, attribute);
    else last.attributes.delete(name);
  }
}

/** Those that still stand. */
function removeNodes(graph: Graph, nodes: readonly Node[], twins: Counterparts): void {
  graph.remove(nodes.map((node) => twins.node(node)).filter((node) => node.graph === graph));
}

/** What a branch gives, times zero; for the linear form what its last layer gives before its bias. Outputs are those of the surgery. */
export function maskBranches(model: Model, reduced: readonly ReducedBranch[], twins: Counterparts): void {
  const store = new WeightStore(model);
  for (const { branch, form } of reduced) {
    const sum = twins.node(branch.sum);
    const last = branch.standIn && twins.node(branch.standIn.last);
    const weights = form === 'linear' ? store.constant(last?.inputs[1]) : undefined;
    if (last && weights) {
      const { dims } = weights.tensor;
      last.setInput(1, store.add(weights, '_zero', float32Tensor(dims, new Float32Array(elementCount(dims)))).value);
      continue;
    }
    const value = sum.inputs[branch.index];
    if (!sum.graph || !value) continue;
    const zero = store.declare(sum.graph, `${value.name}_zero`, float32Tensor([], [0]));
    const masked = store.newValue(`${value.name}_masked`);
    sum.graph.insertBefore(sum, store.newNode({ opType: 'Mul', inputs: [value, zero.value], outputs: [masked] }, `${sum.name}_mask`));
    sum.setInput(branch.index, masked);
  }
}
