/** Writes maps in few bits into a graph: clipped to the range of their codes, then a QuantizeLinear and DequantizeLinear pair. */
import { attributeOf, float32Tensor, type Model, NameAuthority, Node, replaceAllUses, type Tensor, tensorOf, Value } from '../ir/index.js';
import { bitsOf, coveredRange, type MapCodes } from './narrow-codes.js';

export type ContainerType = 'uint8' | 'int8' | 'uint16' | 'int16';

const CONTRIB = 'com.microsoft';
/** From here on the operators of ONNX itself take one scale per channel. */
const OPSET_OF_AXIS = 13;

const arrays = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array } as const;

export function codesTensor(type: ContainerType, dims: readonly number[], codes: ArrayLike<number>): Tensor {
  return tensorOf(type, dims, arrays[type].from(codes));
}

/** Codes of more than 8 bits are no types of ONNX's own operators before operator set 21, but of onnxruntime's in all. */
export function quantizerDomain(type: ContainerType, model: Model): string {
  const isOwn = (type === 'uint8' || type === 'int8') && model.opset >= OPSET_OF_AXIS;
  if (!isOwn && !model.opsetImports.has(CONTRIB)) model.opsetImports.set(CONTRIB, 1);
  return isOwn ? '' : CONTRIB;
}

/** Unsigned where nothing is negative, as behind Relu; the sign of others takes half of the codes below zero. */
export function containerOf(codes: MapCodes): { readonly type: ContainerType; readonly zeroPoint: number } {
  const bits = bitsOf(codes);
  const size = bits <= 8 ? 8 : 16;
  if (codes.zeroPoint === 0) return { type: size === 8 ? 'uint8' : 'uint16', zeroPoint: 0 };
  return { type: size === 8 ? 'int8' : 'int16', zeroPoint: codes.zeroPoint - 2 ** (bits - 1) };
}

/** Every reader of the map gets the rounded values; an output of the model keeps its name. Names that no value of the main graph has are passed over. */
export function roundMaps(model: Model, codes: ReadonlyMap<string, MapCodes>): void {
  const { graph } = model;
  const names = new NameAuthority(model);
  for (const input of [...graph.inputs]) {
    const own = codes.get(input.name);
    const [first] = graph.nodes;
    if (!own || !first) continue;
    const rounded = new Value(names.valueName(`${input.name}_rounded`));
    const nodes = roundingNodes(model, names, { from: input, to: rounded, stem: input.name, codes: own });
    replaceAllUses(graph, { from: input, to: rounded, except: nodes }, names);
    graph.insertBefore(first, ...nodes);
  }
  for (const node of [...graph.nodes]) {
    for (const [index, value] of node.outputs.entries()) {
      const own = value && codes.get(value.name);
      if (!own) continue;
      const exact = new Value(names.valueName(`${value.name}_exact`), value.type);
      node.setOutput(index, exact);
      graph.insertAfter(node, ...roundingNodes(model, names, { from: exact, to: value, stem: value.name, codes: own }));
    }
  }
}

interface RoundedMap {
  readonly from: Value;
  readonly to: Value;
  readonly stem: string;
  readonly codes: MapCodes;
}

function roundingNodes(model: Model, names: NameAuthority, { from, to, stem, codes }: RoundedMap): Node[] {
  const { type, zeroPoint } = containerOf(codes);
  const constant = (suffix: string, tensor: Tensor): Value => model.graph.addInitializer(names.valueName(`${stem}_${suffix}`), tensor);
  const parameters = [constant('scale', float32Tensor([], [codes.scale])), constant('zero_point', codesTensor(type, [], [zeroPoint]))];
  const domain = quantizerDomain(type, model);
  const made = new Value(names.valueName(`${stem}_quantized`));
  const node = (opType: string, inputs: readonly Value[], output: Value, where = domain): Node =>
    new Node({ opType, domain: where, name: names.nodeName(`${stem}_${opType}`), inputs, outputs: [output] });
  const inside = codes.levels === fullLevels[type] ? from : new Value(names.valueName(`${stem}_inside`));
  return [
    ...(inside === from ? [] : [clip(model, node('Clip', [from], inside, ''), codes, constant)]),
    node('QuantizeLinear', [inside, ...parameters], made),
    node('DequantizeLinear', [made, ...parameters], to),
  ];
}

const fullLevels: Readonly<Record<ContainerType, number>> = { uint8: 2 ** 8, int8: 2 ** 8, uint16: 2 ** 16, int16: 2 ** 16 };
/** From here on bounds are inputs, before they were attributes. */
const OPSET_OF_BOUNDS = 11;

function clip(model: Model, node: Node, codes: MapCodes, constant: (suffix: string, tensor: Tensor) => Value): Node {
  for (const [at, [name, bound]] of [...Object.entries({ min: coveredRange(codes).low, max: coveredRange(codes).high })].entries()) {
    if (model.opset < OPSET_OF_BOUNDS) node.attributes.set(name, attributeOf.float(bound));
    else node.setInput(at + 1, constant(name, float32Tensor([], [bound])));
  }
  return node;
}

export interface RoundingNodes {
  /** Missing where codes fill their container. */
  readonly clip?: Node;
  readonly quantize: Node;
  readonly dequantize: Node;
}

/** The nodes that roundMaps wrote for a map. */
export function roundingNodesOf({ graph }: Model, name: string): RoundingNodes {
  const input = graph.inputs.find((value) => value.name === name);
  const first = input?.uses[0]?.node;
  const quantize = first?.opType === 'Clip' ? first.outputs[0]?.uses[0]?.node : first;
  const made = graph.nodes.find(({ outputs }) => outputs.some((value) => value?.name === name));
  const dequantize = input ? quantize?.outputs[0]?.uses[0]?.node : made;
  const source = dequantize?.inputs[0]?.producer;
  if (dequantize?.opType !== 'DequantizeLinear' || source?.opType !== 'QuantizeLinear') throw new Error(`"${name}" is not rounded`);
  const before = source.inputs[0]?.producer;
  const isOurs = before?.opType === 'Clip' && before.name.startsWith(`${name}_`);
  return { ...(isOurs ? { clip: before } : {}), quantize: source, dequantize };
}

/** The map has other codes now, of the same number and the same zero. */
export function moveRounding(model: Model, name: string, codes: MapCodes): void {
  const { clip, quantize } = roundingNodesOf(model, name);
  const { initializers } = model.graph;
  const [, scale] = quantize.inputs;
  if (scale) initializers.set(scale, float32Tensor([], [codes.scale]));
  const { low, high } = coveredRange(codes);
  for (const [at, [name, bound]] of Object.entries({ min: low, max: high }).entries()) {
    const value = clip?.inputs[at + 1];
    if (value) initializers.set(value, float32Tensor([], [bound]));
    else clip?.attributes.set(name, attributeOf.float(bound));
  }
}
