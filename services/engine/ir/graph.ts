/** The mutable graph: Model, Graph, Node and Value with use-def chains that the graph itself keeps true. */
import type { DataType, Shape, Tensor } from './tensor.js';

/** The type of a value as ONNX TypeProto states it. */
export type ValueType =
  | {
      readonly kind: 'tensor' | 'sparse-tensor';
      readonly dataType: DataType | null;
      readonly shape: Shape | null;
      readonly denotation?: string;
    }
  | { readonly kind: 'sequence' | 'optional'; readonly element: ValueType | null; readonly denotation?: string }
  | { readonly kind: 'map'; readonly key: DataType; readonly value: ValueType | null; readonly denotation?: string }
  | { readonly kind: 'opaque'; readonly bytes: Uint8Array; readonly denotation?: string };

/** ONNX AttributeProto: its value, and what else the file said about it. */
export type Attribute = AttributeValue & {
  readonly docString?: string;
  /** Protobuf fields that this IR does not know, byte for byte. */
  readonly unknownFields?: Uint8Array;
};

/** Integers are bigint because int64 is exact in ONNX (Slice-1 `ends` is often 2^63 - 1). */
export type AttributeValue =
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'int'; readonly value: bigint }
  | { readonly kind: 'string'; readonly value: Uint8Array }
  | { readonly kind: 'tensor'; readonly value: Tensor }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'type'; readonly value: ValueType }
  | { readonly kind: 'sparse-tensor'; readonly value: SparseTensor }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'ints'; readonly value: readonly bigint[] }
  | { readonly kind: 'strings'; readonly value: readonly Uint8Array[] }
  | { readonly kind: 'tensors'; readonly value: readonly Tensor[] }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  | { readonly kind: 'types'; readonly value: readonly ValueType[] }
  | { readonly kind: 'sparse-tensors'; readonly value: readonly SparseTensor[] }
  /** Inside a function body: the attribute of the calling node with this name. `type` is AttributeProto.AttributeType. */
  | { readonly kind: 'reference'; readonly value: string; readonly type: number };

/** COO tensor; in the file its name is the name of `values`. */
export interface SparseTensor {
  readonly values: Tensor;
  readonly indices: Tensor;
  readonly dims: readonly number[];
  readonly unknownFields?: Uint8Array;
}

/** TensorAnnotation: quantization parameters of a tensor, by role ('SCALE_TENSOR') and the name of the tensor that holds them. */
export interface QuantizationAnnotation {
  readonly tensorName: string;
  readonly parameterTensorNames: ReadonlyMap<string, string>;
  readonly unknownFields?: Uint8Array;
}

/** One reading of a value: input `index` of `node`. */
export interface Use {
  readonly node: Node;
  readonly index: number;
}

export class Value {
  /** The node that makes this value; null for graph inputs and initializers. */
  producer: Node | null = null;
  /** Protobuf fields of its ValueInfoProto that this IR does not know, byte for byte. */
  unknownFields: Uint8Array | undefined;
  private readonly readers = new Map<Node, Set<number>>();

  constructor(
    public name: string,
    public type: ValueType | null = null,
    public docString?: string,
    public metadata?: ReadonlyMap<string, string>,
  ) {}

  /** Every reading of this value by a node, in this graph or in a subgraph below it. Graph outputs are not uses. */
  get uses(): Use[] {
    return [...this.readers].flatMap(([node, indices]) => [...indices].map((index) => ({ node, index })));
  }

  get isRead(): boolean {
    return this.readers.size > 0;
  }

  isUsedBy(node: Node, index: number): boolean {
    return this.readers.get(node)?.has(index) ?? false;
  }

  /** The nodes that read this value, each once. */
  get consumers(): Node[] {
    return [...this.readers.keys()];
  }

  /** Kept by Node; do not call from elsewhere. */
  addUse(node: Node, index: number): void {
    const indices = this.readers.get(node);
    if (indices) indices.add(index);
    else this.readers.set(node, new Set([index]));
  }

  /** Kept by Node; do not call from elsewhere. */
  removeUse(node: Node, index: number): void {
    const indices = this.readers.get(node);
    indices?.delete(index);
    if (indices?.size === 0) this.readers.delete(node);
  }
}

export interface NodeOptions {
  readonly opType: string;
  /** '' is the ONNX domain; 'ai.onnx' is normalised to it. */
  readonly domain?: string;
  readonly name?: string;
  readonly overload?: string;
  /** null is an omitted optional input. */
  readonly inputs: readonly (Value | null)[];
  /** null is an omitted optional output. */
  readonly outputs: readonly (Value | null)[];
  readonly attributes?: ReadonlyMap<string, Attribute> | Readonly<Record<string, Attribute>>;
  readonly docString?: string;
  readonly metadata?: ReadonlyMap<string, string>;
  readonly unknownFields?: Uint8Array;
}

export class Node {
  readonly domain: string;
  readonly overload: string;
  readonly opType: string;
  name: string;
  docString: string | undefined;
  metadata: ReadonlyMap<string, string> | undefined;
  /** Protobuf fields that this IR does not know (device configurations among them), byte for byte. */
  unknownFields: Uint8Array | undefined;
  readonly attributes: Map<string, Attribute>;
  /** The graph that holds the node; null before it is inserted and after it is removed. */
  graph: Graph | null = null;
  private readonly inputValues: (Value | null)[] = [];
  private readonly outputValues: (Value | null)[];

  constructor(options: NodeOptions) {
    this.opType = options.opType;
    this.domain = options.domain === 'ai.onnx' ? '' : (options.domain ?? '');
    this.name = options.name ?? '';
    this.overload = options.overload ?? '';
    this.docString = options.docString;
    this.metadata = options.metadata;
    this.unknownFields = options.unknownFields;
    this.attributes = new Map(options.attributes instanceof Map ? options.attributes : Object.entries(options.attributes ?? {}));
    this.outputValues = [...options.outputs];
    for (const output of this.outputValues) if (output) output.producer = this;
    for (const [index, value] of options.inputs.entries()) this.setInput(index, value);
  }

  get inputs(): readonly (Value | null)[] {
    return this.inputValues;
  }

  get outputs(): readonly (Value | null)[] {
    return this.outputValues;
  }

  /** The graphs held by attributes: If branches, Loop and Scan bodies. */
  get subgraphs(): Graph[] {
    return [...this.attributes.values()].flatMap((attribute) => {
      if (attribute.kind === 'graph') return [attribute.value];
      return attribute.kind === 'graphs' ? attribute.value : [];
    });
  }

  /** Sets input `index`, keeping the use-def chains; inputs between the end and `index` become omitted. */
  setInput(index: number, value: Value | null): void {
    while (this.inputValues.length <= index) this.inputValues.push(null);
    this.inputValues[index]?.removeUse(this, index);
    this.inputValues[index] = value;
    value?.addUse(this, index);
  }

  /** Drops inputs from `count` on. */
  truncateInputs(count: number): void {
    while (this.inputValues.length > count) {
      const index = this.inputValues.length - 1;
      this.inputValues[index]?.removeUse(this, index);
      this.inputValues.pop();
    }
  }

  setOutput(index: number, value: Value | null): void {
    while (this.outputValues.length <= index) this.outputValues.push(null);
    const old = this.outputValues[index];
    if (old && old.producer === this) old.producer = null;
    this.outputValues[index] = value;
    if (value) value.producer = this;
  }

  truncateOutputs(count: number): void {
    while (this.outputValues.length > count) {
      const old = this.outputValues.pop();
      if (old && old.producer === this) old.producer = null;
    }
  }
}

export class Graph {
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];
  /** Constant tensors by the value that names them. A value may be both an input and an initializer (overridable). */
  readonly initializers = new Map<Value, Tensor>();
  /** Sparse constants by the value that names them; the runtime hands them to nodes as dense tensors. */
  readonly sparseInitializers = new Map<Value, SparseTensor>();
  readonly quantizationAnnotations: QuantizationAnnotation[] = [];
  docString: string | undefined;
  metadata: ReadonlyMap<string, string> | undefined;
  /** Protobuf fields that this IR does not know, byte for byte. */
  unknownFields: Uint8Array | undefined;
  /** Facts about intermediate values that stand in value_info are held on Value.type. */
  private nodeList: Node[] = [];

  constructor(public name = '') {}

  /** In topological order once `sortTopologically` or the decoder ran; inserts keep the order that the caller gives. */
  get nodes(): readonly Node[] {
    return this.nodeList;
  }

  append(...nodes: Node[]): void {
    for (const node of nodes) {
      adopt(this, node);
      this.nodeList.push(node);
    }
  }

  insertBefore(anchor: Node, ...nodes: Node[]): void {
    const at = this.indexOf(anchor);
    for (const node of nodes) adopt(this, node);
    this.nodeList.splice(at, 0, ...nodes);
  }

  insertAfter(anchor: Node, ...nodes: Node[]): void {
    const at = this.indexOf(anchor) + 1;
    for (const node of nodes) adopt(this, node);
    this.nodeList.splice(at, 0, ...nodes);
  }

  /** Replaces the order of the nodes; `order` must hold exactly the present nodes. */
  reorder(order: readonly Node[]): void {
    if (order.length !== this.nodeList.length || new Set(order).size !== order.length || order.some((node) => node.graph !== this)) {
      throw new Error('Graph.reorder: the order does not hold exactly the nodes of the graph');
    }
    this.nodeList = [...order];
  }

  /** Removes nodes and the uses they make, their subgraphs' uses of outer values included. Their outputs must not be read by other nodes. */
  remove(nodes: Iterable<Node>): void {
    const removed = new Set(nodes);
    for (const node of removed) release(node);
    this.nodeList = this.nodeList.filter((node) => !removed.has(node));
    for (const node of removed) node.graph = null;
  }

  isOutput(value: Value): boolean {
    return this.outputs.includes(value);
  }

  isInput(value: Value): boolean {
    return this.inputs.includes(value);
  }

  /** The tensor of a value that no caller can override: an initializer of this graph that is not a graph input. */
  constant(value: Value | null): Tensor | undefined {
    if (!value || this.isInput(value)) return undefined;
    return this.initializers.get(value);
  }

  addInitializer(name: string, tensor: Tensor): Value {
    const value = new Value(name, { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims });
    this.initializers.set(value, tensor);
    return value;
  }

  private indexOf(anchor: Node): number {
    const at = this.nodeList.indexOf(anchor);
    if (at < 0) throw new Error(`Graph: node ${anchor.name || anchor.opType} is not in graph ${this.name}`);
    return at;
  }
}

function adopt(graph: Graph, node: Node): void {
  if (node.graph && node.graph !== graph) throw new Error(`Graph: node ${node.name || node.opType} belongs to another graph`);
  node.graph = graph;
}

function release(node: Node): void {
  for (const [index, value] of node.inputs.entries()) value?.removeUse(node, index);
  for (const subgraph of node.subgraphs) for (const inner of subgraph.nodes) release(inner);
}

/** A model-local function (FunctionProto). Its body is a graph whose inputs and outputs are untyped. */
export interface FunctionDefinition {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly attributeNames: readonly string[];
  readonly defaultAttributes: ReadonlyMap<string, Attribute>;
  readonly opsetImports: ReadonlyMap<string, number>;
  readonly body: Graph;
}

export class Model {
  irVersion = 10;
  /** Operator set version by domain; '' is the ONNX domain. */
  readonly opsetImports = new Map<string, number>();
  producerName = '';
  producerVersion = '';
  domain = '';
  modelVersion = 0n;
  docString = '';
  readonly metadata = new Map<string, string>();
  readonly functions: FunctionDefinition[] = [];
  /** Protobuf fields that this IR does not know (training_info and device configurations among them), byte for byte. */
  unknownFields: Uint8Array | undefined;

  constructor(public graph: Graph) {}

  /** Version of the ONNX operator set, 0 when the model does not import it. */
  get opset(): number {
    return this.opsetImports.get('') ?? 0;
  }
}
