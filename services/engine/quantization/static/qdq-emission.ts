/** Writes the integer part of a model as QuantizeLinear and DequantizeLinear pairs in the patterns that the runtime fuses. */
import {
  attributeOf,
  float32Tensor,
  float32Values,
  type Graph,
  type Model,
  type Node,
  type Tensor,
  tensorOf,
  type Value,
} from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { quantizeValue } from '../quantization-parameters.js';
import { type ActivationParameters, activationCodes, activationParameters } from './activation-parameters.js';
import type { IntegerForm } from './integer-form.js';
import type { IntegerUnit } from './integer-units.js';
import { biasScale, type LayerCodes } from './layer-codes.js';

export interface EmissionParts {
  readonly form: IntegerForm;
  /** By name of the tensor. */
  readonly parameters: ReadonlyMap<string, ActivationParameters>;
  /** By name of the unit. */
  readonly codes: ReadonlyMap<string, LayerCodes>;
  /** Ranks of activations by name. */
  readonly ranks: ReadonlyMap<string, number>;
}

/** Codes and their real values of one tensor in the rewritten graph. */
interface CodedTensor {
  readonly quantized: Value;
  readonly dequantized: Value;
  readonly scale: Value;
  readonly zeroPoint: Value;
}

/** Rewrites `model` in place. */
export function emitQdq(model: Model, store: WeightStore, parts: EmissionParts): void {
  new QdqEmission(model, store, parts).run();
}

class QdqEmission {
  private readonly graph: Graph;
  private readonly coded = new Map<Value, CodedTensor>();
  private usesContribOperators = false;

  constructor(
    private readonly model: Model,
    private readonly store: WeightStore,
    private readonly parts: EmissionParts,
  ) {
    this.graph = model.graph;
  }

  run(): void {
    const { units, forms, coded } = this.parts.form;
    const made = new Set(units.filter((unit) => forms.get(unit) === 'codes').map((unit) => unit.output));
    for (const value of coded) if (!made.has(value)) this.quantizeBehindProducer(value);
    for (const unit of units) this.rewriteUnit(unit);
    if (this.usesContribOperators && !this.model.opsetImports.has('com.microsoft')) this.model.opsetImports.set('com.microsoft', 1);
  }

  /** Codes of a tensor that a float node makes or the caller feeds; float readers keep reading the tensor itself. */
  private quantizeBehindProducer(value: Value): void {
    const nodes = this.pair(value, this.store.newValue(`${value.name}_dequantized`));
    if (value.producer) this.graph.insertAfter(value.producer, ...nodes);
    else this.store.insertFirst(this.graph, ...nodes);
  }

  /** The nodes Q and DQ from `source` to `target`, with the parameters of the tensor `value` that they stand for. */
  private pair(source: Value, target: Value, value: Value = source): Node[] {
    const parameters = this.parametersOf(value);
    const [scale, zeroPoint] = this.parameterConstants(value.name, parameters);
    const quantized = this.store.newValue(`${value.name}_quantized`);
    this.coded.set(value, { quantized, dequantized: target, scale, zeroPoint });
    return [
      this.store.newNode({ opType: 'QuantizeLinear', inputs: [source, scale, zeroPoint], outputs: [quantized] }, quantized.name),
      this.store.newNode(
        { opType: 'DequantizeLinear', inputs: [quantized, scale, zeroPoint], outputs: [target] },
        `${value.name}_dequantize`,
      ),
    ];
  }

  private parametersOf(value: Value): ActivationParameters {
    const parameters = this.parts.parameters.get(value.name);
    if (!parameters) throw new Error(`tensor ${value.name} has no quantization parameters`);
    return parameters;
  }

  private parameterConstants(stem: string, { scale, zeroPoint, type }: ActivationParameters): [Value, Value] {
    return [
      this.constant(`${stem}_scale`, float32Tensor([], [scale])),
      this.constant(`${stem}_zero_point`, codesTensor(type, [], [zeroPoint])),
    ];
  }

  private constant(stem: string, tensor: Tensor): Value {
    const value = this.store.newValue(stem);
    value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    this.graph.initializers.set(value, tensor);
    return value;
  }

  private rewriteUnit(unit: IntegerUnit): void {
    const isCoded = this.parts.form.forms.get(unit) === 'codes';
    const { layer } = unit;
    if (layer?.kind === 'dense') this.rewriteDense(unit, layer, isCoded);
    else this.rewriteInPlace(unit);
  }

  /** Inputs become real values of codes, the result passes through a pair, and the activation that the pair implies vanishes. */
  private rewriteInPlace(unit: IntegerUnit): void {
    const { node, layer } = unit;
    if (layer) this.setLayerInputs(node, unit);
    else this.setOperands(unit);
    this.coverOutput(unit, node);
  }

  /** `last` writes a new value, which the pair turns into the tensor that everybody reads. */
  private coverOutput(unit: IntegerUnit, last: Node): void {
    const raw = this.store.newValue(`${unit.output.name}_raw`);
    if (unit.activation) this.graph.remove([unit.activation]);
    last.setOutput(0, raw);
    this.graph.insertAfter(last, ...this.pair(raw, unit.output, unit.output));
  }

  private setOperands({ node, inputs, constants }: IntegerUnit): void {
    for (const [index, value] of node.inputs.entries()) {
      const constant = constants.get(index);
      if (constant) node.setInput(index, this.constantOperand(constant, node));
      else if (value && inputs.includes(value)) node.setInput(index, this.realValues(value));
    }
  }

  private realValues(value: Value): Value {
    const coded = this.coded.get(value);
    if (!coded) throw new Error(`tensor ${value.name} has no codes`);
    return coded.dequantized;
  }

  /** A constant operand must pass through DequantizeLinear, too, or the operator stays float. */
  private constantOperand({ value, tensor }: Constant, reader: Node): Value {
    const values = float32Values(tensor);
    const range = { low: values.reduce((a, b) => Math.min(a, b), 0), high: values.reduce((a, b) => Math.max(a, b), 0) };
    const parameters = activationParameters(range, { type: 'uint8', symmetric: false, powerOfTwo: false });
    const [scale, zeroPoint] = this.parameterConstants(value.name, parameters);
    const codes = Array.from(values, (each) => quantizeValue(each, parameters, activationCodes.uint8));
    const output = this.store.newValue(`${value.name}_dequantized`);
    const inputs = [this.constant(`${value.name}_quantized`, codesTensor('uint8', tensor.dims, codes)), scale, zeroPoint];
    this.graph.insertBefore(reader, this.store.newNode({ opType: 'DequantizeLinear', inputs, outputs: [output] }, output.name));
    return output;
  }

  private codesOf(unit: IntegerUnit): LayerCodes {
    const codes = this.parts.codes.get(unit.name);
    if (!codes) throw new Error(`layer ${unit.name} has no codes`);
    return codes;
  }

  /** Inputs of a Conv or Gemm: activation, weight through DequantizeLinear per channel, int32 bias on the scale of the products. */
  private setLayerInputs(node: Node, unit: IntegerUnit): void {
    const [activation] = unit.inputs;
    if (!activation) throw new Error(`layer ${unit.name} has no input`);
    const { scale } = this.parametersOf(activation);
    const codes = this.codesOf(unit);
    node.setInput(0, this.realValues(activation));
    const axis = unit.layer?.kind === 'dense' ? 1 : 0;
    node.setInput(
      1,
      this.dequantizedConstant(node, {
        stem: `${unit.name}_weight`,
        tensor: tensorOf('int8', codes.dims, codes.codes),
        scales: codes.scales,
        axis,
      }),
    );
    if (!codes.bias) return;
    const scales = Float32Array.from({ length: codes.scales.length }, (_, channel) => biasScale(scale, codes.scales, channel));
    const tensor = tensorOf('int32', [codes.bias.codes.length], codes.bias.codes);
    node.setInput(2, this.dequantizedConstant(node, { stem: `${unit.name}_bias`, tensor, scales, axis: 0 }));
  }

  private dequantizedConstant(
    reader: Node,
    { stem, tensor, scales, axis }: { stem: string; tensor: Tensor; scales: Float32Array; axis: number },
  ): Value {
    const isPerChannel = scales.length > 1;
    const scale = this.constant(`${stem}_scale`, float32Tensor(isPerChannel ? [scales.length] : [], scales));
    const count = scales.length;
    const zeros =
      tensor.dataType === 'int32'
        ? tensorOf('int32', isPerChannel ? [count] : [], new Int32Array(count))
        : tensorOf('int8', isPerChannel ? [count] : [], new Int8Array(count));
    const inputs = [this.constant(`${stem}_quantized`, tensor), scale, this.constant(`${stem}_zero_point`, zeros)];
    const output = this.store.newValue(`${stem}_dequantized`);
    const attributes = isPerChannel ? { axis: attributeOf.int(axis) } : {};
    this.graph.insertBefore(reader, this.store.newNode({ opType: 'DequantizeLinear', inputs, outputs: [output], attributes }, output.name));
    return output;
  }

  /** On matrices Gemm, whose integer kernel takes the bias; on stacks of them MatMulIntegerToFloat, which no other rewrite of the runtime breaks up. */
  private rewriteDense(unit: IntegerUnit, layer: DenseLayer, isCoded: boolean): void {
    const isMatrix = this.parts.ranks.get(layer.activation.name) === 2;
    const dense = isMatrix ? this.gemm(unit, layer) : this.matMulIntegerToFloat(unit, layer);
    if (isCoded) this.coverOutput(unit, dense);
  }

  /** Puts `node` in the place of the product and its Add; its result is what they gave. */
  private replaceProduct({ node, bias }: DenseLayer, make: (output: Value) => Node): Node {
    const old = bias?.add ? [node, bias.add] : [node];
    const output = (bias?.add ?? node).outputs[0];
    if (!output) throw new Error(`layer ${node.name} has no output`);
    const replacement = make(output);
    this.graph.insertBefore(node, replacement);
    this.graph.remove(old);
    replacement.name = node.name;
    return replacement;
  }

  private gemm(unit: IntegerUnit, layer: DenseLayer): Node {
    const [activation] = unit.inputs;
    const gemm = this.replaceProduct(layer, (output) =>
      this.store.newNode({ opType: 'Gemm', inputs: [activation ?? null, null], outputs: [output] }, unit.name),
    );
    this.setLayerInputs(gemm, unit);
    return gemm;
  }

  private matMulIntegerToFloat(unit: IntegerUnit, layer: DenseLayer): Node {
    this.usesContribOperators = true;
    const coded = this.coded.get(layer.activation);
    if (!coded) throw new Error(`tensor ${layer.activation.name} has no codes`);
    const { codes, dims, scales, bias } = this.codesOf(unit);
    const weight = this.constant(`${unit.name}_weight_quantized`, tensorOf('int8', dims, codes));
    const weightScale = this.constant(`${unit.name}_weight_scale`, float32Tensor(scales.length > 1 ? [scales.length] : [], scales));
    const tail = bias ? [null, this.constant(`${unit.name}_bias`, float32Tensor([bias.real.length], bias.real))] : [];
    const inputs = [coded.quantized, weight, coded.scale, weightScale, coded.zeroPoint, ...tail];
    return this.replaceProduct(layer, (output) =>
      this.store.newNode({ opType: 'MatMulIntegerToFloat', domain: 'com.microsoft', inputs, outputs: [output] }, unit.name),
    );
  }
}

function codesTensor(type: ActivationParameters['type'], dims: readonly number[], codes: readonly number[]): Tensor {
  switch (type) {
    case 'uint8':
      return tensorOf(type, dims, Uint8Array.from(codes));
    case 'int8':
      return tensorOf(type, dims, Int8Array.from(codes));
    case 'uint16':
      return tensorOf(type, dims, Uint16Array.from(codes));
    case 'int16':
      return tensorOf(type, dims, Int16Array.from(codes));
    default:
      return type satisfies never;
  }
}
