/** Builds the small models that layers are timed in: made-up weights, one input, one value after the other. */
import { type Attribute, attributeOf, Graph, int64Tensor, Model, Node, Value } from '../../ir/index.js';
import { madeUpTensor } from '../../timing/made-up-tensor.js';

const OPSET = 17;
const IR_VERSION = 8;

export interface ChainLayer {
  /** Dims of the constants that follow on the activation. */
  readonly weights: readonly (readonly number[])[];
  /** Attributes that differ from those of the node. */
  readonly integers?: Readonly<Record<string, number>>;
}

export class ChainBuilder {
  private readonly graph = new Graph('layer_chain');
  private last: Value;

  constructor(inputDims: readonly number[]) {
    this.last = new Value('x', { kind: 'tensor', dataType: 'float32', shape: inputDims });
    this.graph.inputs.push(this.last);
  }

  /** A 1x1 convolution, to bring values into the layout in which convolutions pass them on. */
  pointwise(name: string, weightDims: readonly number[]): void {
    this.add('Conv', { name, weights: [weightDims], attributes: new Map() });
  }

  /** The layer itself, with the attributes of `node`. */
  layer(node: Node, { weights, integers = {} }: ChainLayer): void {
    const attributes = new Map(node.attributes);
    for (const [name, value] of Object.entries(integers)) attributes.set(name, attributeOf.int(value));
    this.add(node.opType, { name: 'layer', weights, attributes });
  }

  /** Copies one element: a kernel whose time is that of calling any. */
  corner(): void {
    const rank = (this.last.type?.kind === 'tensor' ? (this.last.type.shape ?? []) : []).length;
    const bounds = [0, 1].map((bound) => this.graph.addInitializer(`bound_${bound}`, int64Tensor([rank], Array<number>(rank).fill(bound))));
    const output = new Value('corner_out');
    this.graph.append(new Node({ opType: 'Slice', name: 'corner', inputs: [this.last, ...bounds], outputs: [output] }));
    this.last = output;
  }

  private add(opType: string, parts: { name: string; weights: ChainLayer['weights']; attributes: Map<string, Attribute> }): void {
    const constants = parts.weights.map((dims, at) => this.graph.addInitializer(`${parts.name}_${at}`, madeUpTensor(dims)));
    const output = new Value(`${parts.name}_out`);
    const { name, attributes } = parts;
    this.graph.append(new Node({ opType, name, inputs: [this.last, ...constants], outputs: [output], attributes }));
    this.last = output;
  }

  model(): Model {
    this.last.type = { kind: 'tensor', dataType: 'float32', shape: null };
    this.graph.outputs.push(this.last);
    const model = new Model(this.graph);
    model.irVersion = IR_VERSION;
    model.opsetImports.set('', OPSET);
    return model;
  }
}
