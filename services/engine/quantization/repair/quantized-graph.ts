/** A model as the rules of the doctor see it: its QuantizeLinear and DequantizeLinear nodes with their parameters and neighbours. */
import {
  type Attribute,
  attributeOf,
  type DataType,
  elementCount,
  float32Values,
  type Graph,
  graphsWithin,
  intAttribute,
  integerValues,
  type Model,
  type Node,
  type Tensor,
  type Use,
  type Value,
} from '../../ir/index.js';
import { type Constant, WeightStore } from '../../layers/weight-store.js';

/** A QuantizeLinear or DequantizeLinear, of either domain. */
export interface Conversion {
  readonly node: Node;
  /** What it reads and makes. */
  readonly input: Value;
  readonly output: Value;
  readonly scale: Value;
  readonly zeroPoint: Value | null;
  /** Constant float32 scales; undefined when they are computed, fed or of another type. */
  readonly scales: Float32Array | undefined;
  /** Constant zero points, 0 where there are none; undefined when they are computed or fed. */
  readonly zeroPoints: readonly number[] | undefined;
  readonly codeType: DataType | undefined;
  /** Rank of the scale: 0 or one element is per tensor. */
  readonly isPerTensor: boolean;
  readonly axis: number;
  /** 0 when not in blocks. */
  readonly blockSize: number;
}

interface NewDequantize {
  readonly operands: readonly (Value | null)[];
  /** undefined per tensor. */
  readonly axis?: number | undefined;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** TensorProto.DataType of the attribute output_dtype of QuantizeLinear-21. */
const typeOfCode: Readonly<Record<number, DataType>> = { 2: 'uint8', 3: 'int8', 4: 'uint16', 5: 'int16', 21: 'uint4', 22: 'int4' };

const domains: ReadonlySet<string> = new Set(['', 'com.microsoft']);

export class QuantizedGraph {
  readonly store: WeightStore;
  private readonly known = new Map<Node, Conversion | undefined>();

  constructor(readonly model: Model) {
    this.store = new WeightStore(model);
  }

  get graphs(): readonly Graph[] {
    return [...graphsWithin(this.model.graph)];
  }

  get nodes(): readonly Node[] {
    return this.graphs.flatMap((graph) => graph.nodes);
  }

  get conversions(): readonly Conversion[] {
    return this.nodes.flatMap((node) => this.conversion(node) ?? []);
  }

  /** A new constant of the main graph, named after what `node` makes. */
  addConstant(node: Node, suffix: string, tensor: Tensor): Value {
    const named = node.outputs.find((output) => output !== null);
    if (!named) throw new Error(`${node.opType} "${node.name}" makes nothing`);
    return this.store.add({ value: named, tensor, graph: this.model.graph }, `_${suffix}`, tensor).value;
  }

  /** Input `index` of `node` comes from a new DequantizeLinear of `operands`: codes, scale, zero point. */
  insertDequantize(node: Node, index: number, { operands, axis, attributes }: NewDequantize): Value {
    const stem = node.inputs[index]?.name ?? node.name;
    const made = this.store.newValue(`${stem}_dequantized`);
    const own = axis === undefined ? {} : { axis: attributeOf.int(axis) };
    const conversion = this.store.newNode(
      { opType: 'DequantizeLinear', inputs: withoutOmittedEnd(operands), outputs: [made], attributes: { ...attributes, ...own } },
      made.name,
    );
    if (!node.graph) throw new Error(`${node.opType} "${node.name}" is in no graph`);
    node.graph.insertBefore(node, conversion);
    node.setInput(index, made);
    return made;
  }

  /** True for values that the runtime knows when it has loaded the model: constants and what is computed from nothing else. */
  isFoldable(value: Value): boolean {
    if (this.store.constant(value)) return true;
    const { producer } = value;
    if (!producer || producer.subgraphs.length > 0) return false;
    return producer.inputs.every((input) => !input || this.isFoldable(input));
  }

  /** `node` as a conversion; undefined for any other operator. */
  conversion(node: Node | null | undefined): Conversion | undefined {
    if (!node) return undefined;
    if (!this.known.has(node)) this.known.set(node, this.readConversion(node));
    return this.known.get(node);
  }

  /** The DequantizeLinear that makes `value`. */
  dequantizer(value: Value | null | undefined): Conversion | undefined {
    const producer = value?.producer;
    return producer?.opType === 'DequantizeLinear' ? this.conversion(producer) : undefined;
  }

  /** The DequantizeLinear of a constant that makes `value`. */
  dequantizedConstant(value: Value | null | undefined): (Conversion & { readonly constant: Constant }) | undefined {
    const found = this.dequantizer(value);
    const constant = this.store.constant(found?.input);
    return found && constant ? { ...found, constant } : undefined;
  }

  /** The DequantizeLinear of something computed that makes `value`. */
  dequantizedActivation(value: Value | null | undefined): Conversion | undefined {
    const found = this.dequantizer(value);
    return found && !this.store.constant(found.input) ? found : undefined;
  }

  /** The QuantizeLinear nodes that read `value`. */
  quantizers(value: Value | null | undefined): Conversion[] {
    return (value?.uses ?? []).flatMap(({ node, index }) => {
      const found = index === 0 && node.opType === 'QuantizeLinear' ? this.conversion(node) : undefined;
      return found ? [found] : [];
    });
  }

  /** The only reader of `value`; undefined when there are others or a graph returns it. */
  soleUse(value: Value | null | undefined): Use | undefined {
    if (!value || this.store.isGraphOutput(value)) return undefined;
    const { uses } = value;
    return uses.length === 1 ? uses[0] : undefined;
  }

  floats(value: Value | null | undefined): Float32Array | undefined {
    const tensor = this.store.constant(value)?.tensor;
    return tensor?.dataType === 'float32' ? float32Values(tensor) : undefined;
  }

  /** Rank as declared or inferred; undefined when unknown. */
  rank(value: Value | null | undefined): number | undefined {
    const constant = this.store.constant(value);
    if (constant) return constant.tensor.dims.length;
    return value?.type?.kind === 'tensor' ? value.type.shape?.length : undefined;
  }

  /** Type of the codes that `value` holds. */
  codeType(value: Value | null | undefined): DataType | undefined {
    const constant = this.store.constant(value);
    if (constant) return constant.tensor.dataType;
    const producer = value?.producer;
    if (producer?.opType === 'QuantizeLinear') return this.quantizedType(producer);
    return value?.type?.kind === 'tensor' ? (value.type.dataType ?? undefined) : undefined;
  }

  private quantizedType(node: Node): DataType | undefined {
    const stated = typeOfCode[intAttribute(node, 'output_dtype', 0)];
    return this.zeroPointType(node.inputs[2]) ?? stated ?? 'uint8';
  }

  private zeroPointType(value: Value | null | undefined): DataType | undefined {
    const tensor = this.store.constant(value)?.tensor;
    return tensor?.dataType ?? (value?.type?.kind === 'tensor' ? (value.type.dataType ?? undefined) : undefined);
  }

  private readConversion(node: Node): Conversion | undefined {
    if ((node.opType !== 'QuantizeLinear' && node.opType !== 'DequantizeLinear') || !domains.has(node.domain)) return undefined;
    const [input, scale, zeroPoint = null] = node.inputs;
    const output = node.outputs[0];
    if (!input || !scale || !output) return undefined;
    const zeroPoints = zeroPoint ? integers(this.store.constant(zeroPoint)?.tensor) : [0];
    const dims = this.store.constant(scale)?.tensor.dims;
    return {
      ...{ node, input, output, scale, zeroPoint, zeroPoints },
      scales: this.floats(scale),
      codeType: node.opType === 'QuantizeLinear' ? this.quantizedType(node) : (this.zeroPointType(zeroPoint) ?? this.codeType(input)),
      isPerTensor: dims ? elementCount(dims) === 1 && intAttribute(node, 'block_size', 0) === 0 : (this.rank(scale) ?? 0) === 0,
      axis: intAttribute(node, 'axis', 1),
      blockSize: intAttribute(node, 'block_size', 0),
    };
  }
}

function integers(tensor: Tensor | undefined): readonly number[] | undefined {
  if (!tensor) return undefined;
  try {
    return integerValues(tensor);
  } catch {
    // 4-bit and float8 zero points: no rule computes with them.
    return undefined;
  }
}

/** An omitted last input is left away: an empty name in its place keeps the runtime from fusing. */
export function withoutOmittedEnd(inputs: readonly (Value | null)[]): readonly (Value | null)[] {
  return inputs.slice(0, inputs.findLastIndex((input) => input !== null) + 1);
}

/** True when both conversions have the same constant parameters per tensor and the same type of codes. */
export function sameParameters(a: Conversion, b: Conversion): boolean {
  if (!a.isPerTensor || !b.isPerTensor || a.codeType !== b.codeType || !a.zeroPoints || !b.zeroPoints) return false;
  return a.scales !== undefined && a.scales[0] === b.scales?.[0] && a.zeroPoints[0] === b.zeroPoints[0];
}
