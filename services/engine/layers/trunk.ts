/** The trunk of a network: the values that everything on the way from its weights to its outputs passes through. */
import { dependencies, type Graph, isFloating, type Node, nodesMaking, type Value, valuesBehind } from '../ir/index.js';

export interface TrunkValue {
  readonly value: Value;
  /** Layers that were computed when this value is there, of all: above 0, at most 1. */
  readonly depth: number;
}

/** Operators that multiply with weights when one of their inputs is constant. */
export const weighingOperators: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'LSTM', 'GRU', 'RNN']);
/** What they give is a size, not a signal. */
const sizeOperators: ReadonlySet<string> = new Set(['Shape', 'Size']);

/**
 * The dominators of the outputs (Lengauer and Tarjan 1979) among the values that depend on a layer, in order: after each of them no
 * other such value is read any more. Masks and sizes that go past the layers do not count. A sweep in topological order finds them: what
 * was computed before a dominator leads to it, so that nothing but the dominator is live behind it. Nodes must be sorted.
 */
export function trunkOf(graph: Graph): TrunkValue[] {
  const { layers, carried } = layersOf(graph);
  const needed = new Set(nodesMaking(graph, valuesBehind(graph.outputs)));
  const lastReader = new Map<Value, number>();
  for (const [place, node] of graph.nodes.entries()) {
    if (!needed.has(node) || sizeOperators.has(node.opType)) continue;
    for (const value of dependencies(node)) if (carried.has(value)) lastReader.set(value, place);
  }
  for (const output of graph.outputs) lastReader.set(output, Number.POSITIVE_INFINITY);
  const begins = graph.nodes.filter(
    (node) => needed.has(node) && layers.has(node) && ![...dependencies(node)].some((each) => carried.has(each)),
  );
  const first = Math.max(-1, ...begins.map((node) => graph.nodes.indexOf(node)));
  const count = graph.nodes.filter((node) => needed.has(node) && layers.has(node)).length;
  const live = new Set<Value>();
  const trunk = new Map<Value, TrunkValue>();
  let done = 0;
  for (const [place, node] of graph.nodes.entries()) {
    if (!needed.has(node)) continue;
    if (layers.has(node)) done += 1;
    for (const value of dependencies(node)) if (lastReader.get(value) === place) live.delete(value);
    for (const output of node.outputs) if (output && carried.has(output) && lastReader.has(output)) live.add(output);
    const [only] = live;
    if (only && live.size === 1 && place >= first && !trunk.has(only)) trunk.set(only, { value: only, depth: done / count });
  }
  return [...trunk.values()];
}

/** The nodes that multiply a signal with weights, and the values that depend on one. */
function layersOf(graph: Graph): { readonly layers: ReadonlySet<Node>; readonly carried: ReadonlySet<Value> } {
  const fed = new Set<Value>(graph.inputs.filter((input) => !graph.initializers.has(input)));
  const layers = new Set<Node>();
  const carried = new Set<Value>();
  for (const node of graph.nodes) {
    if (sizeOperators.has(node.opType)) continue;
    const read = [...dependencies(node)];
    if (!read.some((value) => fed.has(value))) continue;
    if (weighingOperators.has(node.opType) ? read.some((value) => !fed.has(value)) : isEmbedding(graph, node, fed)) layers.add(node);
    const carries = layers.has(node) || read.some((value) => carried.has(value));
    for (const output of node.outputs) {
      if (!output) continue;
      fed.add(output);
      if (carries) carried.add(output);
    }
  }
  return { layers, carried };
}

/** Rows of a table of numbers, taken by what is fed; a mask that is taken apart is none. */
function isEmbedding(graph: Graph, { opType, inputs: [table] }: Node, fed: ReadonlySet<Value>): boolean {
  if (opType !== 'Gather' || !table || fed.has(table)) return false;
  const tensor = graph.constant(table);
  return !tensor || isFloating(tensor.dataType);
}

/** One value for each depth: the last that has the sizes of the first, behind normalization and activation, before pooling. */
export function layerEnds(trunk: readonly TrunkValue[], shapes: ReadonlyMap<string, readonly number[]>): TrunkValue[] {
  const ends = new Map<number, TrunkValue>();
  const sizes = new Map<number, string>();
  for (const each of trunk) {
    const dims = shapes.get(each.value.name)?.join();
    if (dims === undefined) continue;
    if (!sizes.has(each.depth)) sizes.set(each.depth, dims);
    if (sizes.get(each.depth) === dims) ends.set(each.depth, each);
  }
  return [...ends.values()];
}
