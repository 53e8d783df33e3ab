/** Making every reader of one value read another, without ever changing the name of a graph output. */
import { type Graph, Node, Value } from './graph.js';
import type { NameAuthority } from './name-authority.js';
import { graphsWithin } from './traversal.js';

export interface Replacement {
  readonly from: Value;
  readonly to: Value;
  /** Readers that keep reading `from`: nodes inserted between `from` and `to`. */
  readonly except?: Iterable<Node>;
}

/**
 * True when replacing `from` by `to` would need an Identity node in `graph`: `from` is a graph output and `to` cannot
 * take its name, being an input, a constant, an output itself or a value from outside. A pass that removes nodes must
 * not touch such a node, or it would remove and insert Identity for ever.
 */
export function needsIdentity(graph: Graph, from: Value, to: Value): boolean {
  return graph.isOutput(from) && (graph.isOutput(to) || to.producer?.graph !== graph);
}

/**
 * Every reader of `from`, in `graph` and below it, reads `to` instead. `graph` is the one that defines `from`.
 * Where `from` is a graph output, `to` takes over its name and type (the names are swapped); where that cannot be
 * (see needsIdentity), an Identity node makes the output from `to`. Returns the nodes that changed.
 */
export function replaceAllUses(graph: Graph, { from, to, except }: Replacement, names: NameAuthority): Node[] {
  if (from === to) return [];
  const kept = new Set(except);
  const changed = new Set<Node>();
  for (const { node, index } of from.uses) {
    if (kept.has(node)) continue;
    node.setInput(index, to);
    changed.add(node);
  }
  for (const subgraph of graphsWithin(graph)) if (subgraph !== graph) replaceOutputs(subgraph, from, to);
  if (needsIdentity(graph, from, to)) changed.add(insertIdentity(graph, { from, to }, names));
  else if (graph.isOutput(from)) takeOverOutput(graph, from, to);
  return [...changed];
}

function replaceOutputs(graph: Graph, from: Value, to: Value): void {
  for (const [index, output] of graph.outputs.entries()) if (output === from) graph.outputs[index] = to;
}

function takeOverOutput(graph: Graph, from: Value, to: Value): void {
  [from.name, to.name] = [to.name, from.name];
  to.type = from.type ?? to.type;
  to.docString = from.docString;
  to.metadata = from.metadata;
  to.unknownFields = from.unknownFields;
  replaceOutputs(graph, from, to);
}

/** `from` stays the graph output, now made by Identity; its old producer gets a stand-in output. */
function insertIdentity(graph: Graph, { from, to }: Replacement, names: NameAuthority): Node {
  const producer = from.producer;
  const position = producer ? producer.outputs.indexOf(from) : -1;
  if (!producer || position < 0)
    throw new Error(`replaceAllUses: graph output '${from.name}' is an input or a constant and cannot be replaced`);
  producer.setOutput(position, new Value(names.valueName(`${from.name}_replaced`), from.type));
  const identity = new Node({ opType: 'Identity', name: names.nodeName(`${from.name}_identity`), inputs: [to], outputs: [from] });
  graph.append(identity);
  return identity;
}
