/** The constants of a model with all their readers, and the one way to add, replace and drop them. */
import {
  attributeOf,
  type Graph,
  graphsWithin,
  type Model,
  NameAuthority,
  Node,
  type NodeOptions,
  type Tensor,
  Value,
} from '../ir/index.js';

export interface Constant {
  readonly value: Value;
  readonly tensor: Tensor;
  /** The graph that declares it: the one with the initializer or with the Constant node. */
  readonly graph: Graph;
}

/** IR versions before 4 list every initializer among the inputs, and the runtime treats them as constants all the same. */
const IR_VERSION_WITH_FREE_INITIALIZERS = 4;

export class WeightStore {
  private readonly constants = new Map<Value, Constant>();
  private readonly names: NameAuthority;
  private readonly graphOutputs = new Set<Value>();

  constructor(private readonly model: Model) {
    this.names = new NameAuthority(model);
    for (const graph of graphsWithin(model.graph)) this.learn(graph);
  }

  private learn(graph: Graph): void {
    for (const output of graph.outputs) this.graphOutputs.add(output);
    for (const [value, tensor] of graph.initializers) {
      const isOverridable = this.model.irVersion >= IR_VERSION_WITH_FREE_INITIALIZERS && graph.isInput(value);
      if (!isOverridable) this.constants.set(value, { value, tensor, graph });
    }
    for (const node of graph.nodes) {
      const attribute = node.opType === 'Constant' && node.domain === '' ? node.attributes.get('value') : undefined;
      const output = node.outputs[0];
      if (attribute?.kind === 'tensor' && output) this.constants.set(output, { value: output, tensor: attribute.value, graph });
    }
  }

  /** The constant that `value` names in every run; undefined for anything computed, fed or overridable. */
  constant(value: Value | null | undefined): Constant | undefined {
    return value ? this.constants.get(value) : undefined;
  }

  all(): Constant[] {
    return [...this.constants.values()];
  }

  isGraphOutput(value: Value): boolean {
    return this.graphOutputs.has(value);
  }

  newValue(stem: string): Value {
    return new Value(this.names.valueName(stem));
  }

  newNode(options: Omit<NodeOptions, 'name'>, stem: string): Node {
    return new Node({ ...options, name: this.names.nodeName(stem) });
  }

  /** A new constant declared where `neighbour` is, so that every reader of that one can see it. */
  add(neighbour: Constant, suffix: string, tensor: Tensor): Constant {
    return this.declare(neighbour.graph, `${neighbour.value.name}${suffix}`, tensor);
  }

  /** A new constant of `graph`, visible there and in the graphs below. */
  declare(graph: Graph, stem: string, tensor: Tensor): Constant {
    this.useFreeInitializers();
    const value = this.newValue(stem);
    value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    graph.initializers.set(value, tensor);
    const constant = { value, tensor, graph };
    this.constants.set(value, constant);
    return constant;
  }

  /**
   * Computes a constant from smaller ones instead of storing it: `nodes`, the last of which makes the value, go to the front
   * of its graph. The runtime folds them when it loads the model, so its readers see the same constant as before.
   */
  computeAtLoad(constant: Constant, nodes: (value: Value) => readonly Node[]): void {
    this.forget(constant);
    this.insertFirst(constant.graph, ...nodes(constant.value));
  }

  /** Nodes that read only constants go in front of all others. */
  insertFirst(graph: Graph, ...nodes: Node[]): void {
    const [first] = graph.nodes;
    if (first) graph.insertBefore(first, ...nodes);
    else graph.append(...nodes);
  }

  /** Gives a constant another tensor of its type and shape; all its readers see it. Returns the constant as it now is. */
  replace({ value, graph }: Constant, tensor: Tensor): Constant {
    if (value.producer) value.producer.attributes.set('value', attributeOf.tensor(tensor));
    else graph.initializers.set(value, tensor);
    const constant = { value, tensor, graph };
    this.constants.set(value, constant);
    return constant;
  }

  /** Removes a constant that nothing reads any more; keeps it otherwise. */
  dropIfUnread(constant: Constant): void {
    if (!constant.value.isRead && !this.graphOutputs.has(constant.value)) this.forget(constant);
  }

  private forget({ value, graph }: Constant): void {
    this.useFreeInitializers();
    this.constants.delete(value);
    if (value.producer) graph.remove([value.producer]);
    else graph.initializers.delete(value);
  }

  private useFreeInitializers(): void {
    if (this.model.irVersion >= IR_VERSION_WITH_FREE_INITIALIZERS) return;
    this.model.irVersion = IR_VERSION_WITH_FREE_INITIALIZERS;
    const { inputs, initializers } = this.model.graph;
    const fed = inputs.filter((input) => !initializers.has(input));
    inputs.splice(0, inputs.length, ...fed);
  }
}

/** The name by which the report knows a node: its own, or that of its first output. */
export function reportName(node: Node): string {
  return node.name || (node.outputs.find((output) => output)?.name ?? '');
}
