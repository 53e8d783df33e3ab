/** The one writer of the passes: unique names, shared constants, and the application of patches. */
import { createHash } from 'node:crypto';
import { type Graph, type Model, Node, type NodeOptions, type Tensor, Value } from '../ir/index.js';
import { declaredValues, graphsWithin } from '../ir/traversal.js';
import type { NodeChange } from '../method.js';
import { isOverridable, type ModelFacts } from './model-facts.js';
import type { Rewrite } from './rewrite.js';

const keys = new WeakMap<Tensor, string>();

/** Content of a tensor as a key: type, dims and bytes. Read once for each tensor object. */
export function tensorKey(tensor: Tensor): string {
  const known = keys.get(tensor);
  if (known !== undefined) return known;
  const hash = createHash('sha256').update(`${tensor.dataType}[${tensor.dims.join()}]`);
  for (const text of tensor.strings ?? []) hash.update(`${text.byteLength}:`).update(text);
  for (const chunk of tensor.data.chunks()) hash.update(chunk);
  const key = hash.digest('base64');
  keys.set(tensor, key);
  return key;
}

/** The name by which the report knows a node. */
export function reportName(node: Node): string {
  return node.name || (node.outputs.find((output) => output)?.name ?? '');
}

export class ModelEditor {
  /** How many values carry a name: sibling subgraphs may use the same one. */
  private readonly names = new Map<string, number>();
  private readonly sharedConstants = new Map<string, Value>();
  private graphOutputs = new Set<Value>();
  private readonly removed = new Set<Node>();
  readonly changes: NodeChange[] = [];

  constructor(
    readonly model: Model,
    readonly facts: ModelFacts,
  ) {
    for (const graph of graphsWithin(model.graph)) for (const value of declaredValues(graph)) this.countName(value.name);
    this.noteGraphs();
  }

  /** To be called when graphs appear or disappear. */
  noteGraphs(): void {
    this.graphOutputs = new Set();
    for (const graph of graphsWithin(this.model.graph)) for (const output of graph.outputs) this.graphOutputs.add(output);
  }

  isGraphOutput(value: Value): boolean {
    return this.graphOutputs.has(value);
  }

  /** True when a node reads the value or a graph returns it. */
  isLive(value: Value): boolean {
    return value.isRead || this.graphOutputs.has(value);
  }

  /** The node that makes `value`, if `reader` is the only reading of it and no graph returns it. */
  soleProducer(value: Value | null | undefined): Node | undefined {
    if (!value?.producer || this.isGraphOutput(value) || value.uses.length !== 1) return undefined;
    return value.producer;
  }

  newValue(base: string): Value {
    let name = base;
    for (let attempt = 1; this.names.has(name); attempt += 1) name = `${base}_${attempt}`;
    this.countName(name);
    return new Value(name);
  }

  /** The tensor of a stored constant that only one node reads: replacing it does not make the file grow. */
  exclusiveConstant(value: Value | null | undefined): Tensor | undefined {
    if (!value || value.producer || value.uses.length !== 1 || this.isGraphOutput(value)) return undefined;
    return this.facts.constant(value);
  }

  isUniquelyNamed(value: Value): boolean {
    return this.names.get(value.name) === 1;
  }

  private countName(name: string): void {
    this.names.set(name, (this.names.get(name) ?? 0) + 1);
  }

  /** A node that takes the place of `node`: same name, same outputs. Insert it and remove `node` in one patch. */
  replacement(node: Node, options: Pick<NodeOptions, 'opType' | 'inputs' | 'attributes'>): Node {
    return new Node({ ...options, name: node.name, outputs: node.outputs, ...(node.metadata ? { metadata: node.metadata } : {}) });
  }

  /** A node with one new output named after `base`. */
  newNode(options: Omit<NodeOptions, 'outputs'>, base: string): { node: Node; output: Value } {
    const output = this.newValue(base);
    return { node: new Node({ name: output.name, ...options, outputs: [output] }), output };
  }

  /**
   * A constant of the main graph, where every subgraph sees it; equal tensors share one. `retired` is a value that the
   * constant is about to replace everywhere: its name is reused.
   */
  addConstant(base: string, tensor: Tensor, retired?: Value): Value {
    const key = tensorKey(tensor);
    const shared = this.sharedConstants.get(key);
    if (shared && this.model.graph.initializers.has(shared)) return shared;
    const name = retired && this.isUniquelyNamed(retired) && !this.isGraphOutput(retired) ? retired.name : this.newValue(base).name;
    const value = this.model.graph.addInitializer(name, tensor);
    this.sharedConstants.set(key, value);
    this.facts.learnConstant(value, tensor);
    return value;
  }

  /** Makes an existing constant of the main graph known for sharing. */
  offerConstant(value: Value, tensor: Tensor): Value {
    const key = tensorKey(tensor);
    const shared = this.sharedConstants.get(key);
    if (shared && this.model.graph.initializers.has(shared)) return shared;
    if (this.model.graph.initializers.has(value) && !isOverridable(this.model, this.model.graph, value))
      this.sharedConstants.set(key, value);
    return value;
  }

  /** A copy of `node` under its name with other inputs and attributes and a new output; the old node leaves in the same patch. */
  copyWith(node: Node, { inputs, attributes }: Pick<NodeOptions, 'inputs' | 'attributes'>): Node {
    const output = this.newValue(node.outputs[0]?.name ?? node.opType);
    const { opType, domain, name } = node;
    return new Node({ opType, domain, name, inputs, outputs: [output], attributes: attributes ?? node.attributes });
  }

  /**
   * Whether readers of `from` may read `to` instead. A graph output keeps its name, so `to` must then be made by a
   * node of the same graph that can take the name over.
   */
  canRedirect(from: Value, to: Value): boolean {
    if (!this.isGraphOutput(from)) return true;
    const graph = from.producer?.graph;
    return graph !== undefined && graph !== null && to.producer?.graph === graph && !this.isGraphOutput(to);
  }

  /** Applies a patch and records the changes under the name of the pass. */
  apply(patch: Rewrite, pass: string): void {
    const { graph } = patch.anchor;
    if (!graph) throw new Error(`${pass}: the anchor ${reportName(patch.anchor)} is in no graph`);
    for (const node of patch.remove ?? []) this.report(node, 'removed', pass, patch.reason);
    for (const node of patch.replaced ?? []) this.report(node, 'changed', pass, patch.reason);
    for (const { anchor, nodes } of [{ anchor: patch.anchor, nodes: patch.insert ?? [] }, ...(patch.insertAt ?? [])]) {
      if (nodes.length > 0) graph.insertBefore(anchor, ...nodes);
      for (const node of nodes) this.facts.inferNode(node);
    }
    for (const [from, to] of patch.redirect ?? []) this.redirect(from, to);
    for (const node of [...(patch.remove ?? []), ...(patch.replaced ?? [])]) this.detach(node);
  }

  isRemoved(node: Node): boolean {
    return this.removed.has(node);
  }

  /** Takes the nodes that patches removed out of the node lists: once for many, as each removal walks the list of its graph. */
  sweepRemoved(): void {
    const byGraph = new Map<Graph, Node[]>();
    for (const node of this.removed) {
      if (!node.graph) continue;
      const nodes = byGraph.get(node.graph) ?? [];
      nodes.push(node);
      byGraph.set(node.graph, nodes);
    }
    for (const [graph, nodes] of byGraph) graph.remove(nodes);
    this.removed.clear();
  }

  /** The node reads nothing from now on, so that its operands look free to the next patch. */
  private detach(node: Node): void {
    this.removed.add(node);
    if (node.subgraphs.length > 0) node.graph?.remove([node]);
    else node.truncateInputs(0);
  }

  report(node: Node, action: NodeChange['action'], by: string, reason: string): void {
    this.changes.push({ node: reportName(node), op_type: node.opType, action, by, reason });
  }

  private redirect(from: Value, to: Value): void {
    if (!this.isGraphOutput(from)) {
      for (const { node, index } of from.uses) node.setInput(index, to);
      return;
    }
    const { producer } = to;
    if (!producer) throw new Error(`redirect: ${to.name} has no producer that could make the graph output ${from.name}`);
    for (const { node, index } of to.uses) node.setInput(index, from);
    producer.setOutput(producer.outputs.indexOf(to), from);
    this.facts.inferNode(producer);
  }
}
