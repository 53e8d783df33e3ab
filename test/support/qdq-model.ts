/** Small quantized models in Q/DQ form, written as a person would draw them: each step returns the name of what it makes. */
import {
  type Attribute,
  type DataType,
  float32Tensor,
  type Model,
  type Shape,
  type Tensor,
  tensorOf,
} from '../../services/engine/ir/index.js';
import { buildModel, type NodeSpec, type TensorSpec } from './build-model.js';

type CodeType = 'uint8' | 'int8' | 'uint16' | 'int16' | 'int32';

const arrays = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array } as const;

export function codes(type: CodeType, dims: readonly number[], values: readonly number[]): Tensor {
  return tensorOf(type, dims, arrays[type].from(values));
}

export interface Parameters {
  readonly scale: number;
  readonly zeroPoint?: number;
  readonly type?: CodeType;
}

export interface WeightOptions {
  readonly type?: 'int8' | 'uint8';
  /** Axis of the scales; per tensor without. */
  readonly axis?: number;
  /** Largest |code|; 60 keeps pairs of products from saturating. */
  readonly size?: number;
  readonly seed?: number;
  readonly scale?: number;
}

/** Reproducible integers in [-size, size]. */
export function integers(count: number, size: number, seed = 1): number[] {
  let state = seed * 2_654_435_761;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.round((state / 2 ** 31 - 1) * size);
  });
}

export class QdqModel {
  readonly constants: Record<string, Tensor> = {};
  private readonly inputs: TensorSpec[] = [];
  private readonly outputs: TensorSpec[] = [];
  private readonly nodes: NodeSpec[] = [];
  private count = 0;

  constructor(private readonly opset = 17) {}

  input(name: string, shape: Shape, dataType: DataType = 'float32'): string {
    this.inputs.push({ name, shape, dataType });
    return name;
  }

  constant(name: string, tensor: Tensor): string {
    this.constants[name] = tensor;
    return name;
  }

  node(
    opType: string,
    inputs: readonly string[],
    options: { attributes?: Record<string, Attribute>; domain?: string; name?: string; outputs?: readonly string[] } = {},
  ): string {
    const name = options.name ?? `${opType}_${this.count++}`;
    const outputs = options.outputs ?? [`${name}_out`];
    const { attributes = {}, domain } = options;
    this.nodes.push({ opType, name, inputs, outputs, attributes, ...(domain ? { domain } : {}) });
    return outputs[0] ?? name;
  }

  /** QuantizeLinear: the name of the codes. */
  quantize(value: string, parameters: Parameters): string {
    return this.node('QuantizeLinear', [value, ...this.parameters(value, parameters)]);
  }

  dequantize(value: string, parameters: Parameters): string {
    return this.node('DequantizeLinear', [value, ...this.parameters(value, parameters)]);
  }

  /** A pair: the name of the float value behind it. */
  pair(value: string, parameters: Parameters): string {
    return this.dequantize(this.quantize(value, parameters), parameters);
  }

  private parameters(stem: string, { scale, zeroPoint = 0, type = 'uint8' }: Parameters): string[] {
    const key = `${stem}_${scale}_${zeroPoint}_${type}`;
    return [this.constant(`${key}_scale`, float32Tensor([], [scale])), this.constant(`${key}_zp`, codes(type, [], [zeroPoint]))];
  }

  /** DequantizeLinear of stored codes; scales differ along `axis`. Returns the float value and its scales. */
  weight(
    name: string,
    dims: readonly number[],
    options: WeightOptions = {},
  ): { readonly value: string; readonly scales: readonly number[] } {
    const { type = 'int8', axis, size = 60, seed = 1, scale = 0.01 } = options;
    const count = dims.reduce((a, b) => a * b, 1);
    const offset = type === 'uint8' ? 128 : 0;
    this.constant(
      name,
      codes(
        type,
        dims,
        integers(count, size, seed).map((code) => code + offset),
      ),
    );
    const channels = axis === undefined ? 1 : (dims[axis] ?? 1);
    const scales = Array.from({ length: channels }, (_, at) => Math.fround(scale * (1 + at / 8)));
    const shape = axis === undefined ? [] : [channels];
    const parameters = [
      this.constant(`${name}_scale`, float32Tensor(shape, scales)),
      this.constant(
        `${name}_zp`,
        codes(
          type,
          shape,
          scales.map(() => offset),
        ),
      ),
    ];
    const attributes: Record<string, Attribute> = axis === undefined ? {} : { axis: { kind: 'int', value: BigInt(axis) } };
    return { value: this.node('DequantizeLinear', [name, ...parameters], { attributes }), scales };
  }

  /** An int32 bias at s_x * s_w, times `factor` for a wrong one. */
  bias(
    name: string,
    channels: number,
    { scales, input, factor = 1 }: { scales: readonly number[]; input: number; factor?: number },
  ): string {
    this.constant(name, codes('int32', [channels], integers(channels, 500, 7)));
    const shape = scales.length === 1 ? [] : [scales.length];
    const own = scales.map((scale) => Math.fround(Math.fround(input * scale) * factor));
    this.constant(`${name}_scale`, float32Tensor(shape, own));
    this.constant(
      `${name}_zp`,
      codes(
        'int32',
        shape,
        scales.map(() => 0),
      ),
    );
    return this.node('DequantizeLinear', [name, `${name}_scale`, `${name}_zp`], { attributes: { axis: { kind: 'int', value: 0n } } });
  }

  output(value: string, dataType: DataType = 'float32', shape: Shape | null = null): this {
    this.outputs.push({ name: value, dataType, shape });
    return this;
  }

  build(): Model {
    const model = buildModel({ inputs: this.inputs, outputs: this.outputs, constants: this.constants, nodes: this.nodes });
    model.opsetImports.set('', this.opset);
    return model;
  }
}
