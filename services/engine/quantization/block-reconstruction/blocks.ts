/** The parts of a network that are reconstructed one after the other: residual blocks where it has them, single layers elsewhere. */
import { dependencies, type Graph, type Node, nodesMaking, type Value, valuesBehind } from '../../ir/index.js';
import { layerOperators } from '../../layers/end-layers.js';

export interface Block<Layer> {
  /** In topological order, with the nodes that only compute constants for them. */
  readonly nodes: readonly Node[];
  /** At least one. */
  readonly layers: readonly Layer[];
  /** What it reads from before it, inputs of the graph among them. */
  readonly inputs: readonly Value[];
  /** What it makes and others read. */
  readonly outputs: readonly Value[];
}

/** A part with more layers than this, which no single value enters and leaves, is reconstructed layer by layer. */
const LAYERS_MAX = 8;

/**
 * A block begins with a layer and ends before the next node with weights, at places where all data flows through one value (the
 * blocks of Li et al., BRECQ, ICLR 2021, found in the graph). `layers` are nodes of `graph`.
 */
export function reconstructionBlocks<Layer extends { readonly node: Node }>(graph: Graph, layers: readonly Layer[]): Block<Layer>[] {
  const flow = new DataFlow(graph);
  const byNode = new Map(layers.map((layer) => [layer.node, layer] as const));
  return boundaries(flow, new Set(byNode.keys())).flatMap(([from, to]) => {
    const nodes = graph.nodes.slice(from, to).filter((node) => flow.isVarying(node));
    const own = nodes.flatMap((node) => byNode.get(node) ?? []);
    return own.length === 0 ? [] : [flow.block(nodes, own, to)];
  });
}

/** [from, to) of each block, by places in the order of the nodes. */
function boundaries({ graph, cuts }: DataFlow, layers: ReadonlySet<Node>): (readonly [number, number])[] {
  const starts = [0, ...cuts];
  const ranges: [number, number][] = [];
  for (const [at, from] of starts.entries()) {
    const to = starts[at + 1] ?? graph.nodes.length;
    const part = graph.nodes.slice(from, to);
    const before = ranges.at(-1);
    const places = part.flatMap((node, offset) => (layers.has(node) ? [from + offset] : []));
    if (places.length > LAYERS_MAX) for (const [index, place] of places.entries()) ranges.push([place, places[index + 1] ?? to]);
    else if (places.length > 0) ranges.push([from, to]);
    else if (before?.[1] === from && !part.some(({ opType }) => layerOperators.has(opType))) before[1] = to;
  }
  return ranges;
}

/** Which values follow from the inputs of a graph, and where they are read for the last time. */
class DataFlow {
  private readonly varying: Set<Value>;
  private readonly lastRead = new Map<Value, number>();

  constructor(readonly graph: Graph) {
    this.varying = new Set(graph.inputs.filter((input) => !graph.initializers.has(input)));
    for (const [at, node] of graph.nodes.entries()) {
      const needed = dependencies(node);
      for (const value of needed) this.lastRead.set(value, at);
      if (![...needed].some((value) => this.varying.has(value))) continue;
      for (const output of node.outputs) if (output) this.varying.add(output);
    }
  }

  isVarying(node: Node): boolean {
    return node.outputs.some((output) => output !== null && this.varying.has(output));
  }

  /** Places before which one computed value at most is still to be read: inputs of the graph are at hand everywhere. */
  get cuts(): number[] {
    const { nodes } = this.graph;
    const living = new Set<Value>();
    const found: number[] = [];
    for (const [at, node] of nodes.entries()) {
      if (at > 0 && living.size <= 1) found.push(at);
      for (const output of node.outputs) if (output && this.varying.has(output) && this.lastReadOf(output) > at) living.add(output);
      for (const value of living) if (this.lastReadOf(value) <= at) living.delete(value);
    }
    return found;
  }

  block<Layer>(nodes: readonly Node[], layers: readonly Layer[], end: number): Block<Layer> {
    const made = new Set(nodes.flatMap((node) => node.outputs));
    const read = new Set(nodes.flatMap((node) => [...dependencies(node)]));
    const constants = nodesMaking(
      this.graph,
      valuesBehind(read, (value) => !this.varying.has(value)),
    );
    return {
      nodes: [...constants, ...nodes],
      layers,
      inputs: [...read].filter((value) => this.varying.has(value) && !made.has(value)),
      outputs: [...made].filter((value): value is Value => value !== null && (this.lastReadOf(value) >= end || this.graph.isOutput(value))),
    };
  }

  private lastReadOf(value: Value): number {
    return this.lastRead.get(value) ?? -1;
  }
}
