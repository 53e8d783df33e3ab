/** Appends computation to a graph, one value at a time: what losses, gradients and other made graphs are written with. */
import { type Attribute, type Graph, type Model, Node, Value } from './graph.js';
import type { NameAuthority } from './name-authority.js';
import { float32Tensor, int64Tensor, type Tensor } from './tensor.js';

export type Attributes = Readonly<Record<string, Attribute>>;

const MICROSOFT = 'com.microsoft';

export class GraphWriter {
  private readonly constants = new Map<string, Value>();

  /** `graph` is the main graph of `model`, or one of its subgraphs; constants go where the nodes go. */
  constructor(
    readonly model: Model,
    private readonly names: NameAuthority,
    readonly graph: Graph = model.graph,
    /** What the names of new nodes and values begin with. */
    private readonly stem = 'computed',
  ) {}

  /** A writer into `graph`, which hangs below this one. */
  within(graph: Graph): GraphWriter {
    return new GraphWriter(this.model, this.names, graph, this.stem);
  }

  /** The only output of a new node. */
  node(opType: string, inputs: readonly (Value | null)[], attributes: Attributes = {}): Value {
    return this.append('', opType, inputs, attributes, 1)[0] as Value;
  }

  /** All `count` outputs of a new node. */
  nodes(opType: string, inputs: readonly (Value | null)[], attributes: Attributes, count: number): Value[] {
    return this.append('', opType, inputs, attributes, count);
  }

  /** The only output of a new node of one of onnxruntime's own operator sets. */
  microsoft(opType: string, inputs: readonly (Value | null)[], attributes: Attributes = {}, domain = MICROSOFT): Value {
    this.model.opsetImports.set(domain, 1);
    return this.append(domain, opType, inputs, attributes, 1)[0] as Value;
  }

  /** A value that no node has made yet: an input of a subgraph. */
  value(name: string, type: Value['type'] = null): Value {
    return new Value(this.names.valueName(`${this.stem}/${name}`), type);
  }

  constant(tensor: Tensor): Value {
    return this.graph.addInitializer(this.names.valueName(`${this.stem}/constant`), tensor);
  }

  /** A float32 scalar; the same number is one constant. */
  float(value: number): Value {
    return this.shared(`f${value}`, () => float32Tensor([], [value]));
  }

  /** An int64 vector; the same numbers are one constant. */
  ints(values: readonly number[]): Value {
    return this.shared(`i${values.join()}`, () => int64Tensor([values.length], values));
  }

  private shared(key: string, make: () => Tensor): Value {
    const known = this.constants.get(key);
    if (known) return known;
    const made = this.constant(make());
    this.constants.set(key, made);
    return made;
  }

  private append(domain: string, opType: string, inputs: readonly (Value | null)[], attributes: Attributes, count: number): Value[] {
    const name = this.names.nodeName(`${this.stem}/${opType}`);
    const outputs = Array.from({ length: count }, () => new Value(this.names.valueName(`${this.stem}/${opType}`)));
    this.graph.append(new Node({ opType, domain, name, inputs, outputs, attributes }));
    return outputs;
  }
}
