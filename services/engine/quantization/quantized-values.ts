/** What is known of 8-bit values in a graph: their type, the codes of constants, the largest code that an activation can have. */
import {
  type DataType,
  elementCount,
  float32Values,
  intAttribute,
  integerValues,
  intsAttribute,
  type Node,
  type Tensor,
  type Value,
} from '../ir/index.js';
import type { WeightStore } from '../layers/weight-store.js';
import { codeRanges, quantizeValue, roundHalfToEven } from './quantization-parameters.js';

export interface ConstantCodes {
  readonly codes: Int8Array;
  readonly dims: readonly number[];
}

/** Operators that hand codes on in their order, in another shape, or in another order. */
const movers: ReadonlySet<string> = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose']);

export class QuantizedValues {
  constructor(private readonly store: WeightStore) {}

  /** Type of the codes that `value` holds; undefined when they are not known to be integers. */
  codeType(value: Value | null): DataType | undefined {
    const constant = this.store.constant(value);
    if (constant) return constant.tensor.dataType;
    const producer = value?.producer;
    if (producer?.opType === 'QuantizeLinear') return this.zeroPoint(producer)?.dataType ?? 'uint8';
    if (producer?.opType === 'DynamicQuantizeLinear') return 'uint8';
    if (value?.type?.kind === 'tensor' && value.type.dataType) return value.type.dataType;
    if (producer && movers.has(producer.opType)) return this.codeType(producer.inputs[0] ?? null);
    return producer ? this.zeroPointType(producer) : undefined;
  }

  /** Type of the codes behind the DequantizeLinear that makes the float value, at most through operators that move data. */
  dequantizedType(value: Value | null): DataType | undefined {
    const producer = value?.producer;
    if (producer?.opType === 'DequantizeLinear') return this.zeroPoint(producer)?.dataType ?? this.codeType(producer.inputs[0] ?? null);
    return producer && movers.has(producer.opType) ? this.dequantizedType(producer.inputs[0] ?? null) : undefined;
  }

  /** The int8 codes of a constant, behind DequantizeLinear or before QuantizeLinear too; undefined for anything else. */
  codes(value: Value | null): ConstantCodes | undefined {
    const constant = this.store.constant(value);
    if (constant) return codesOf(constant.tensor);
    const producer = value?.producer;
    if (!producer) return undefined;
    if (producer.opType === 'DequantizeLinear') return this.codes(producer.inputs[0] ?? null);
    if (producer.opType === 'QuantizeLinear') return this.quantizedConstant(producer);
    if (!movers.has(producer.opType)) return undefined;
    const behind = this.codes(producer.inputs[0] ?? null);
    return behind && this.moved(producer, behind);
  }

  /**
   * Largest code that the activation can take as the pair kernel sees it (int8 codes shifted to 0..255): 255, or less behind an
   * operator whose output has an upper end, code = rint(end / scale) + zero point.
   */
  largestCode(value: Value | null): number {
    const quantize = this.quantizerOf(value);
    const end = quantize && this.upperEnd(quantize.inputs[0]?.producer ?? null);
    const scale = quantize && this.store.constant(quantize.inputs[1])?.tensor;
    if (quantize === undefined || end === undefined || scale?.dataType !== 'float32' || elementCount(scale.dims) !== 1) return 255;
    const zeroPoint = this.zeroPoint(quantize);
    const offset = (zeroPoint ? (integerValues(zeroPoint)[0] ?? 0) : 0) + (zeroPoint?.dataType === 'int8' ? 128 : 0);
    return Math.max(0, Math.min(255, roundHalfToEven(end / (float32Values(scale)[0] ?? 1)) + offset));
  }

  private quantizerOf(value: Value | null): Node | undefined {
    const producer = value?.producer;
    const behind = producer?.opType === 'DequantizeLinear' ? producer.inputs[0]?.producer : producer;
    return behind?.opType === 'QuantizeLinear' ? behind : undefined;
  }

  private upperEnd(node: Node | null): number | undefined {
    if (node?.opType === 'Sigmoid' || node?.opType === 'Softmax' || node?.opType === 'HardSigmoid' || node?.opType === 'Tanh') return 1;
    if (node?.opType !== 'Clip') return undefined;
    const bound = this.store.constant(node.inputs[2])?.tensor;
    return bound?.dataType === 'float32' ? float32Values(bound)[0] : undefined;
  }

  private zeroPoint(node: Node): Tensor | undefined {
    return this.store.constant(node.inputs[2])?.tensor;
  }

  /** Fused operators give codes in the type of their last constant, the zero point of the output. */
  private zeroPointType(node: Node): DataType | undefined {
    const types = node.inputs.flatMap((input) => this.store.constant(input)?.tensor.dataType ?? []);
    return types.findLast((type) => type === 'uint8' || type === 'int8');
  }

  private quantizedConstant(node: Node): ConstantCodes | undefined {
    const values = this.store.constant(node.inputs[0])?.tensor;
    const scales = this.store.constant(node.inputs[1])?.tensor;
    const zeroPoint = this.zeroPoint(node);
    if (values?.dataType !== 'float32' || scales?.dataType !== 'float32' || zeroPoint?.dataType !== 'int8') return undefined;
    const scale = float32Values(scales);
    const zeros = integerValues(zeroPoint);
    const axis = intAttribute(node, 'axis', 1);
    const inner = elementCount(values.dims.slice((axis < 0 ? axis + values.dims.length : axis) + 1));
    const codes = Int8Array.from(float32Values(values), (value, at) => {
      const channel = scale.length === 1 ? 0 : Math.floor(at / inner) % scale.length;
      return quantizeValue(value, { scale: scale[channel] ?? 1, zeroPoint: zeros[channel] ?? 0 }, codeRanges.int8);
    });
    return { codes, dims: values.dims };
  }

  private moved(node: Node, { codes, dims }: ConstantCodes): ConstantCodes | undefined {
    if (node.opType === 'Transpose') {
      const order = intsAttribute(node, 'perm', [...dims.keys()].reverse());
      return permuted({ codes, dims }, order);
    }
    if (node.opType === 'Identity') return { codes, dims };
    const shape = node.outputs[0]?.type;
    const known = shape?.kind === 'tensor' ? shape.shape : null;
    if (known?.every((size) => typeof size === 'number')) return { codes, dims: known };
    if (node.opType !== 'Reshape') return undefined;
    const target = this.store.constant(node.inputs[1])?.tensor;
    return target && { codes, dims: reshaped(dims, integerValues(target)) };
  }
}

function codesOf(tensor: Tensor): ConstantCodes | undefined {
  if (tensor.dataType !== 'int8') return undefined;
  const bytes = tensor.data.read();
  return { codes: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), dims: tensor.dims };
}

/** Reshape: 0 keeps the size of its axis, -1 takes what is left. */
function reshaped(dims: readonly number[], target: readonly number[]): number[] {
  const kept = target.map((size, axis) => (size === 0 ? (dims[axis] ?? 0) : size));
  const rest = elementCount(dims) / elementCount(kept.filter((size) => size >= 0));
  return kept.map((size) => (size < 0 ? rest : size));
}

function permuted({ codes, dims }: ConstantCodes, order: readonly number[]): ConstantCodes {
  const strides = dims.map((_, axis) => elementCount(dims.slice(axis + 1)));
  const target = order.map((axis) => dims[axis] ?? 1);
  const result = new Int8Array(codes.length);
  const index = target.map(() => 0);
  for (let at = 0; at < result.length; at += 1) {
    result[at] = codes[order.reduce((sum, axis, position) => sum + (index[position] ?? 0) * (strides[axis] ?? 0), 0)] ?? 0;
    for (let axis = target.length - 1; axis >= 0; axis -= 1) {
      index[axis] = ((index[axis] ?? 0) + 1) % (target[axis] ?? 1);
      if (index[axis] !== 0) break;
    }
  }
  return { codes: result, dims: target };
}
