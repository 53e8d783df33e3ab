/** Puts a precision plan into effect: half values beside the float32 ones, each cast once, where its readers need it. */
import {
  attributeOf,
  dataTypes,
  float32Tensor,
  type Graph,
  graphsWithin,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
  type Value,
} from '../../ir/index.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { type HalfConstant, type HalfFormat, halfConstant } from './half-format.js';
import { halfRule } from './half-operators.js';
import type { PrecisionPlan } from './precision-plan.js';

export interface ConstantChange extends HalfConstant {
  readonly name: string;
}

export interface RewritingRequest {
  readonly model: Model;
  readonly store: WeightStore;
  readonly plan: PrecisionPlan;
  readonly format: HalfFormat;
}

/**
 * Every float32 value keeps its Value, name and type; beside it there may be its half, under another Value. A node of the plan
 * makes and reads halves. What else reads the value (graph outputs and captures of branches among it) reads the float32 one,
 * which a Cast directly behind the producer makes: so types at every border are what they were, in subgraphs as well.
 */
export class HalfRewriting {
  private readonly halves = new Map<Value, Value>();
  private readonly widened: { readonly graph: Graph; readonly producer: Node; readonly value: Value; readonly half: Value }[] = [];
  private readonly inputGraphs = new Map<Value, Graph>();
  readonly constants: ConstantChange[] = [];

  private readonly model: Model;
  private readonly store: WeightStore;
  private readonly plan: PrecisionPlan;
  private readonly format: HalfFormat;

  constructor({ model, store, plan, format }: RewritingRequest) {
    this.model = model;
    this.store = store;
    this.plan = plan;
    this.format = format;
    for (const graph of graphsWithin(model.graph)) for (const input of graph.inputs) this.inputGraphs.set(input, graph);
  }

  run(): void {
    const nodes = [...graphsWithin(this.model.graph)].flatMap((graph) => [...graph.nodes]);
    for (const node of nodes) if (this.plan.half.has(node)) this.makeOutputsHalf(node);
    for (const node of nodes) {
      if (this.plan.half.has(node)) for (const index of this.plan.halfInputs(node)) this.readHalf(node, index);
      else if (node.domain === '' && node.opType === 'Cast') this.shortenCast(node);
    }
    for (const { graph, producer, value, half } of this.widened) {
      if (!this.isRead(value)) continue;
      const cast = this.castNode(half, value, dataTypes.float32.code);
      graph.insertAfter(producer, cast);
    }
    this.dropUnread(nodes);
  }

  private makeOutputsHalf(node: Node): void {
    for (const index of this.plan.halfOutputs(node)) {
      const value = node.outputs[index];
      if (!value || !node.graph) continue;
      const half = this.newHalf(value);
      node.setOutput(index, half);
      this.widened.push({ graph: node.graph, producer: node, value, half });
    }
  }

  private readHalf(node: Node, index: number): void {
    const value = node.inputs[index];
    if (value) node.setInput(index, this.halfOf(value));
  }

  private newHalf(value: Value): Value {
    const half = this.store.newValue(`${value.name}_${this.format.type}`);
    const shape = value.type?.kind === 'tensor' ? value.type.shape : null;
    half.type = { kind: 'tensor', dataType: this.format.type, shape };
    this.halves.set(value, half);
    return half;
  }

  private halfOf(value: Value): Value {
    const known = this.halves.get(value);
    if (known) return known;
    const constant = this.store.constant(value);
    return constant ? this.halfOfConstant(constant) : (this.halfAtSource(value) ?? this.castToHalf(value));
  }

  private halfOfConstant(constant: Constant): Value {
    const change = halfConstant(constant.tensor, this.format);
    const stored = this.store.add(constant, `_${this.format.type}`, change.tensor);
    this.constants.push({ name: constant.value.name, ...change });
    this.halves.set(constant.value, stored.value);
    return stored.value;
  }

  /** A node that says in an attribute what it makes is repeated for the half: no Cast behind a Cast. */
  private halfAtSource(value: Value): Value | undefined {
    const { producer } = value;
    const graph = producer?.graph;
    if (!producer || !graph || producer.domain !== '') return undefined;
    if (producer.opType === 'Cast') {
      const [from] = producer.inputs;
      if (!from) return undefined;
      if (this.plan.dataType(from) === this.format.type) {
        this.halves.set(value, from);
        return from;
      }
      return this.insertMade(graph, producer, value, this.castNode(from, this.newHalf(value), this.format.code));
    }
    const filling = producer.opType === 'ConstantOfShape' ? fillOf(producer) : undefined;
    if (!filling) return undefined;
    const { tensor } = halfConstant(filling, this.format);
    const options = { opType: 'ConstantOfShape', inputs: producer.inputs, outputs: [this.newHalf(value)] };
    const node = this.store.newNode({ ...options, attributes: { value: attributeOf.tensor(tensor) } }, `${producer.name}_half`);
    return this.insertMade(graph, producer, value, node);
  }

  /** Behind what makes the value, so that readers in subgraphs see it, too. */
  private castToHalf(value: Value): Value {
    const half = this.newHalf(value);
    const cast = this.castNode(value, half, this.format.code);
    const { producer } = value;
    if (producer?.graph) producer.graph.insertAfter(producer, cast);
    else this.store.insertFirst(this.inputGraphs.get(value) ?? this.model.graph, cast);
    return half;
  }

  private insertMade(graph: Graph, neighbour: Node, value: Value, node: Node): Value {
    graph.insertAfter(neighbour, node);
    const [half] = node.outputs;
    return half ?? value;
  }

  private castNode(from: Value, to: Value, code: number): Node {
    const attributes = { to: attributeOf.int(code) };
    return this.store.newNode({ opType: 'Cast', inputs: [from], outputs: [to], attributes }, `${to.name}_cast`);
  }

  /** A Cast of a value that is made in half reads the half; to the half type itself, it is not needed. */
  private shortenCast(node: Node): void {
    const [value] = node.inputs;
    const half = value && this.plan.isMadeInHalf(value) ? this.halves.get(value) : undefined;
    const [output] = node.outputs;
    if (!half || !output) return;
    node.setInput(0, half);
    if (intAttribute(node, 'to', 0) !== this.format.code) return;
    for (const use of output.uses) use.node.setInput(use.index, half);
  }

  private isRead(value: Value): boolean {
    return value.isRead || this.store.isGraphOutput(value);
  }

  private dropUnread(nodes: readonly Node[]): void {
    for (const node of [...nodes].reverse()) {
      const { kind } = halfRule(node);
      const isMaker = kind === 'conversion' || kind === 'source';
      if (isMaker && node.graph && !node.outputs.some((output) => output && this.isRead(output))) node.graph.remove([node]);
    }
    for (const constant of this.store.all()) if (this.halves.has(constant.value)) this.store.dropIfUnread(constant);
  }
}

/** What a ConstantOfShape fills with, if it is float32: the default is one 0. */
function fillOf(node: Node): Tensor | undefined {
  const attribute = node.attributes.get('value');
  if (!attribute) return float32Tensor([1], [0]);
  return attribute.kind === 'tensor' && attribute.value.dataType === 'float32' ? attribute.value : undefined;
}
