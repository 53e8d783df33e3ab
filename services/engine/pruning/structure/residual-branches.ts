/**
 * Residual branches: what is computed beside a sum and added to it, x + f(x). A branch can go as a whole, which is more than the widths
 * of its layers let go; or one linear layer takes the place of its layers and of the activations between (depth compression: Fu et al.
 * 2022, arXiv 2206.00843; Kim et al. 2023, arXiv 2301.12187).
 */
import { dependencies, elementCount, type Graph, intAttribute, type Model, type Node, type Value, valuesBehind } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';

export interface ResidualBranch {
  /** The Add that the branch ends in. */
  readonly sum: Node;
  /** Which input of the sum is the branch. */
  readonly index: 0 | 1;
  /** Those whose results nothing else reads, in the order of the graph. */
  readonly nodes: readonly Node[];
  /** Undefined where no single layer has the sizes of what goes in and of what comes out. */
  readonly standIn?: StandIn;
}

/** One layer from what the first layer of a branch reads to what the last one makes. */
export interface StandIn {
  readonly first: Node;
  /** Becomes the layer. */
  readonly last: Node;
  /** The convolution whose kernel, strides and pads it has; undefined for a product of matrices. */
  readonly window?: Node;
  /** Nodes of the branch that make what the first layer reads, and those between the last layer and the sum. */
  readonly around: readonly Node[];
}

/** What can become of a branch, the mildest first. */
export type BranchForm = 'linear' | 'closed';

export function branchForms({ standIn }: ResidualBranch): readonly BranchForm[] {
  return standIn ? ['linear', 'closed'] : ['closed'];
}

/** Sizes by name of the value, observed on a sample. */
type Shapes = ReadonlyMap<string, readonly number[]>;

/**
 * At most one for each Add of the main graph: the term with more weights. Both terms have the size of the sum, and the branch reads the
 * other term, or something that it is made of.
 */
export function residualBranches(model: Model, shapes: Shapes): ResidualBranch[] {
  const { graph } = model;
  const store = new WeightStore(model);
  return graph.nodes.flatMap((sum): ResidualBranch[] => {
    if (!isPlainSum(sum, graph, shapes)) return [];
    const terms = ([0, 1] as const).map((index) => ({ sum, index, nodes: nodesBehind({ sum, index }, graph) }));
    const weighed = terms.map((branch) => ({ branch, weights: weightsIn(branch.nodes, store) })).sort((a, b) => b.weights - a.weights);
    const [heavier] = weighed;
    if (!heavier || heavier.weights === 0 || !readsOtherTerm(heavier.branch, store)) return [];
    const standIn = standInOf(heavier.branch, store, shapes);
    return [{ ...heavier.branch, ...(standIn ? { standIn } : {}) }];
  });
}

function isPlainSum(sum: Node, graph: Graph, shapes: Shapes): boolean {
  const [left, right] = sum.inputs;
  const [result] = sum.outputs;
  if (sum.opType !== 'Add' || sum.domain !== '' || !left || !right || !result || left === right || graph.isOutput(result)) return false;
  const size = shapes.get(result.name)?.join();
  return size !== undefined && [left, right].every(({ name }) => shapes.get(name)?.join() === size);
}

/** From the sum backwards: a node belongs to the branch when all its readers do. */
function nodesBehind({ sum, index }: Pick<ResidualBranch, 'sum' | 'index'>, graph: Graph): Node[] {
  const inside = new Set<Node>();
  const isRead = (value: Value | null): value is Value => value?.isRead ?? false;
  const isInside = (value: Value): boolean =>
    !graph.isOutput(value) && value.uses.every((use) => inside.has(use.node) || (use.node === sum && use.index === index));
  const before = graph.nodes.slice(0, graph.nodes.indexOf(sum));
  for (const node of before.reverse()) {
    const results = node.outputs.filter(isRead);
    if (results.length > 0 && results.every(isInside)) inside.add(node);
  }
  return graph.nodes.filter((node) => inside.has(node));
}

/** Elements of the matrices and kernels that the nodes read. */
function weightsIn(nodes: readonly Node[], store: WeightStore): number {
  const constants = nodes.flatMap((node) => node.inputs.flatMap((input) => store.constant(input)?.tensor ?? []));
  return constants.reduce((sum, { dims }) => sum + (dims.length > 1 ? elementCount(dims) : 0), 0);
}

function readsOtherTerm({ sum, index, nodes }: ResidualBranch, store: WeightStore): boolean {
  const inside = new Set<Node | null>(nodes);
  const isOutside = (value: Value): boolean => !inside.has(value.producer) && !store.constant(value);
  const read = new Set(nodes.flatMap((node) => [...dependencies(node)].filter(isOutside)));
  const other = sum.inputs[1 - index];
  return [...valuesBehind(other ? [other] : [])].some((value) => read.has(value));
}

/** Between the first and the last layer of the branch, which must be of one kind, without groups, and multiply what the model computes. */
function standInOf({ nodes }: ResidualBranch, store: WeightStore, shapes: Shapes): StandIn | undefined {
  const layers = nodes.filter((node) => isLayer(node, store));
  const [first, last] = [layers[0], layers.at(-1)];
  const [from, to] = [shapes.get(first?.inputs[0]?.name ?? ''), shapes.get(last?.outputs[0]?.name ?? '')];
  if (!first || !last || first === last || first.opType !== last.opType || !from || !to || from.length !== to.length) return undefined;
  if ([first, last].some((node) => intAttribute(node, 'group', 1) !== 1)) return undefined;
  const around = nodesAround({ first, last }, nodes);
  if (!around) return undefined;
  const ends = { first, last, around };
  if (first.opType === 'MatMul') return from.slice(0, -1).join() === to.slice(0, -1).join() ? ends : undefined;
  const window = windowOf(layers, { from, to, shapes, store });
  return window && { ...ends, window };
}

/** Undefined where something between the last layer and the sum reads another part of the branch. */
function nodesAround({ first, last }: Pick<StandIn, 'first' | 'last'>, nodes: readonly Node[]): Node[] | undefined {
  const needed = valuesBehind(first.inputs.flatMap((value) => value ?? []));
  const before = nodes.filter((node) => node.outputs.some((value) => value && needed.has(value)));
  const inside = new Set<Node | null>(nodes);
  const reached = new Set<Node | null>([last]);
  const behind = nodes.filter((node) => {
    const follows = node !== last && [...dependencies(node)].some(({ producer }) => reached.has(producer));
    if (follows) reached.add(node);
    return follows;
  });
  const readsElsewhere = behind.some((node) =>
    [...dependencies(node)].some(({ producer }) => inside.has(producer) && !reached.has(producer)),
  );
  return readsElsewhere ? undefined : [...before, ...behind];
}

function isLayer(node: Node, store: WeightStore): boolean {
  const dims = store.constant(node.inputs[1])?.tensor.dims.length ?? 0;
  return node.domain === '' && ((node.opType === 'MatMul' && dims === 2) || (node.opType === 'Conv' && dims > 2));
}

interface Ends {
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly shapes: Shapes;
  readonly store: WeightStore;
}

/** The convolution with the largest kernel that alone goes from the one map size to the other. */
function windowOf(layers: readonly Node[], { from, to, shapes, store }: Ends): Node | undefined {
  const size = (dims: readonly number[] = []): string => dims.slice(2).join();
  const fitting = layers.filter(
    ({ opType, inputs, outputs }) =>
      opType === 'Conv' && size(shapes.get(inputs[0]?.name ?? '')) === size(from) && size(shapes.get(outputs[0]?.name ?? '')) === size(to),
  );
  const kernel = (node: Node): number => elementCount(kernelOf(node, store));
  return fitting.sort((a, b) => kernel(b) - kernel(a))[0];
}

function kernelOf(window: Node, store: WeightStore): readonly number[] {
  return store.constant(window.inputs[1])?.tensor.dims.slice(2) ?? [];
}

/** Of the weight of a stand-in for layers with these weights: [O, I, ...kernel] or [I, O]. */
export function standInDims(first: readonly number[], last: readonly number[], window: readonly number[] | undefined): number[] {
  const [axisIn, axisOut] = window ? [1, 0] : [0, 1];
  const [inputs, outputs] = [first[axisIn] ?? 1, last[axisOut] ?? 1];
  return window ? [outputs, inputs, ...window.slice(2)] : [inputs, outputs];
}
