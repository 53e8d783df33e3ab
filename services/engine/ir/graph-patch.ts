/** A rewrite as a value: what to insert, replace and remove in one graph, with a label, applied once and as a whole. */
import type { Graph, Node, Value } from './graph.js';
import type { NameAuthority } from './name-authority.js';
import { type Replacement, replaceAllUses } from './replace-all-uses.js';
import type { Tensor } from './tensor.js';
import { verifyNodes } from './verify-graph.js';

interface Insertion {
  readonly anchor: Node | null;
  readonly side: 'before' | 'after' | 'end';
  readonly nodes: readonly Node[];
}

export interface AppliedPatch {
  readonly label: string;
  readonly inserted: readonly Node[];
  readonly removed: readonly Node[];
  /** Nodes that read something else than before, inserted ones not counted. */
  readonly rewired: readonly Node[];
}

/**
 * Collects edits of `graph`; nothing happens to the graph's node list before `apply`. Note that making a Node already
 * registers its uses with the values it reads: make nodes only for a patch that will be applied.
 */
export class GraphPatch {
  private readonly constants: { value: Value; tensor: Tensor }[] = [];
  private readonly insertions: Insertion[] = [];
  private readonly replacements: Replacement[] = [];
  private readonly inputs: { node: Node; index: number; value: Value | null }[] = [];
  private readonly removals: Node[] = [];
  private isApplied = false;

  constructor(
    readonly graph: Graph,
    /** What the rewrite does, for errors and reports: "fold BatchNormalization bn1 into Conv conv1". */
    readonly label: string,
  ) {}

  /** Makes `value` (not part of the graph yet) an initializer, or replaces the tensor of one. */
  setInitializer(value: Value, tensor: Tensor): this {
    this.constants.push({ value, tensor });
    return this;
  }

  insertBefore(anchor: Node, ...nodes: Node[]): this {
    this.insertions.push({ anchor, side: 'before', nodes });
    return this;
  }

  insertAfter(anchor: Node, ...nodes: Node[]): this {
    this.insertions.push({ anchor, side: 'after', nodes });
    return this;
  }

  append(...nodes: Node[]): this {
    this.insertions.push({ anchor: null, side: 'end', nodes });
    return this;
  }

  /** Every reader of `from` reads `to`; see replaceAllUses for graph outputs. */
  replaceUses(from: Value, to: Value, except: Iterable<Node> = []): this {
    this.replacements.push({ from, to, except });
    return this;
  }

  setInput(node: Node, index: number, value: Value | null): this {
    this.inputs.push({ node, index, value });
    return this;
  }

  remove(...nodes: Node[]): this {
    for (const node of nodes) this.removals.push(node);
    return this;
  }

  /**
   * Applies the edits: constants, insertions, replacements, inputs, removals; then verifies the nodes around them.
   * Throws Error when it was applied before or a removed node is still read, InvariantError when a chain is broken.
   */
  apply(names: NameAuthority): AppliedPatch {
    if (this.isApplied) throw new Error(`patch "${this.label}" was applied before`);
    this.isApplied = true;
    for (const { value, tensor } of this.constants) {
      value.type ??= { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
      this.graph.initializers.set(value, tensor);
    }
    for (const insertion of this.insertions) this.insert(insertion);
    const rewired = new Set<Node>();
    for (const replacement of this.replacements) {
      for (const node of replaceAllUses(this.graph, replacement, names)) rewired.add(node);
    }
    for (const { node, index, value } of this.inputs) {
      node.setInput(index, value);
      rewired.add(node);
    }
    this.removeNodes();
    const inserted = this.insertions.flatMap(({ nodes }) => nodes);
    for (const node of [...inserted, ...this.removals]) rewired.delete(node);
    verifyNodes([...inserted, ...rewired]);
    return { label: this.label, inserted, removed: this.removals, rewired: [...rewired] };
  }

  private insert({ anchor, side, nodes }: Insertion): void {
    if (!anchor) this.graph.append(...nodes);
    else if (side === 'before') this.graph.insertBefore(anchor, ...nodes);
    else this.graph.insertAfter(anchor, ...nodes);
  }

  private removeNodes(): void {
    const removed = new Set(this.removals);
    for (const node of removed) {
      for (const output of node.outputs) {
        if (!output) continue;
        const reader = output.consumers.find((consumer) => !removed.has(outermost(consumer, this.graph)));
        if (reader)
          throw new Error(`patch "${this.label}" removes the producer of '${output.name}', which ${reader.opType} '${reader.name}' reads`);
        if (this.graph.isOutput(output)) throw new Error(`patch "${this.label}" removes the producer of graph output '${output.name}'`);
      }
    }
    this.graph.remove(removed);
  }
}

/** `reader` itself: a reader inside a subgraph of a removed node is released together with that node by Graph.remove. */
function outermost(reader: Node, graph: Graph): Node {
  if (reader.graph === graph) return reader;
  return graph.nodes.find((node) => node.attributes.size > 0 && holds(node, reader)) ?? reader;
}

function holds(node: Node, reader: Node): boolean {
  return node.subgraphs.some((subgraph) => subgraph.nodes.some((inner) => inner === reader || holds(inner, reader)));
}
