/** A copy of a model that computes statistics of its own activations: only small sums leave the runtime, never the activations. */
import { cloneModel } from '../ir/clone-model.js';
import {
  type Attribute,
  attributeOf,
  type DataType,
  float32Tensor,
  graphsWithin,
  int64Tensor,
  type Model,
  NameAuthority,
  Node,
  type Tensor,
  Value,
} from '../ir/index.js';
import { dependencies } from '../ir/traversal.js';

const IR_VERSION_WITH_FREE_INITIALIZERS = 4;

export class ProbeGraph {
  private readonly model: Model;
  private readonly names: NameAuthority;
  private readonly values = new Map<string, Value>();
  private readonly constants = new Map<string, Value>();

  constructor(model: Model) {
    this.model = cloneModel(model);
    this.names = new NameAuthority(this.model);
    const { graph } = this.model;
    graph.outputs.splice(0);
    if (this.model.irVersion < IR_VERSION_WITH_FREE_INITIALIZERS) {
      this.model.irVersion = IR_VERSION_WITH_FREE_INITIALIZERS;
      graph.inputs.splice(0, graph.inputs.length, ...graph.inputs.filter((input) => !graph.initializers.has(input)));
    }
    for (const value of [...graph.inputs, ...graph.initializers.keys()]) this.values.set(value.name, value);
    for (const node of graph.nodes) for (const value of node.outputs) if (value) this.values.set(value.name, value);
    forgetSizes(this.model);
  }

  /** The value of the main graph with this name. */
  value(name: string): Value | undefined {
    return this.values.get(name);
  }

  /** The one output that the new node makes, at position `at`: those before it are omitted. */
  node(opType: string, inputs: readonly (Value | null)[], attributes: Readonly<Record<string, Attribute>> = {}, at = 0): Value {
    const output = new Value(this.names.valueName('probe'));
    const outputs = [...Array<null>(at).fill(null), output];
    this.model.graph.append(new Node({ opType, name: this.names.nodeName('probe'), inputs, outputs, attributes }));
    return output;
  }

  constant(tensor: Tensor): Value {
    return this.model.graph.addInitializer(this.names.valueName('probe'), tensor);
  }

  /** Reshape in the one form that all operator sets from 5 on have: 0 keeps an axis, -1 takes the rest. */
  reshape(value: Value, dims: readonly number[]): Value {
    const key = dims.join();
    const shape = this.constants.get(key) ?? this.constant(int64Tensor([dims.length], dims));
    this.constants.set(key, shape);
    return this.node('Reshape', [value, shape]);
  }

  transpose(value: Value, order: readonly number[]): Value {
    return this.node('Transpose', [value], { perm: attributeOf.ints(order) });
  }

  /** Makes `value` an output, of the type that the runtime infers when none is said; the name under which its value is fetched. */
  output(value: Value, dataType?: DataType): string {
    value.type = dataType ? { kind: 'tensor', dataType, shape: null } : null;
    this.model.graph.outputs.push(value);
    return value.name;
  }

  /** The model, without the nodes that no output needs. */
  pruned(): Model {
    const { graph } = this.model;
    const needed = new Set<Node>();
    const pending = graph.outputs.flatMap(({ producer }) => (producer ? [producer] : []));
    for (let node = pending.pop(); node; node = pending.pop()) {
      if (needed.has(node)) continue;
      needed.add(node);
      for (const { producer } of dependencies(node)) if (producer?.graph === graph) pending.push(producer);
    }
    graph.remove(graph.nodes.filter((node) => !needed.has(node)));
    return this.model;
  }
}

/** Sizes that a file declares for computed values can be stale, a fixed batch among them: the runtime would believe them. */
function forgetSizes(model: Model): void {
  for (const { nodes } of graphsWithin(model.graph)) {
    for (const { outputs } of nodes) {
      for (const value of outputs) if (value?.type?.kind === 'tensor') value.type = { ...value.type, shape: null };
    }
  }
}

/** Weight [channels * positions, 1, ...kernel] of a Conv in as many groups that copies, for each channel, each position of its window. */
export function windowCopies(channels: number, kernel: readonly number[]): Tensor {
  const positions = kernel.reduce((product, size) => product * size, 1);
  const values = new Float32Array(channels * positions * positions);
  for (let at = 0; at < values.length; at += positions * positions) {
    for (let position = 0; position < positions; position += 1) values[at + position * positions + position] = 1;
  }
  return float32Tensor([channels * positions, 1, ...kernel], values);
}
