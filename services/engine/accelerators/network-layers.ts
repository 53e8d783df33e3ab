/** A model as an accelerator sees it: layers that read maps and weights and write maps. Pointwise operations ride with the layer before. */
import { elementCount, type Graph, isFloating, type Model, type Node, type Tensor, type Value } from '../ir/index.js';
import { countMacs, operatorTraits } from '../ops/index.js';
import { type RowWindow, rowWindow } from './row-window.js';

/** A map: what layers hand to each other. Its views and its quantized form are the same map. */
export interface FeatureMap {
  /** Of the value that the layer writes, then of its views and its Q and DQ. Widths may be given for any of them. */
  readonly names: readonly string[];
  readonly elements: number;
  /** Rows along the first spatial axis, or 1 where there is none. */
  readonly rows: number;
  /** Inputs and outputs of the network always pass through memory. */
  readonly isInterface: boolean;
}

export interface LayerWeight {
  /** Name of the initializer; of the quantized one behind a DequantizeLinear. */
  readonly name: string;
  readonly elements: number;
}

export interface NetworkLayer {
  /** The node that computes, by name or by the name of its first output. */
  readonly node: string;
  readonly op_type: string;
  readonly weights: readonly LayerWeight[];
  /** The first one is what rows are counted of. */
  readonly inputs: readonly FeatureMap[];
  readonly outputs: readonly FeatureMap[];
  readonly macs: number;
  readonly window: RowWindow;
}

export interface NetworkLayers {
  /** In the order of the graph. */
  readonly layers: readonly NetworkLayer[];
  /** Every map that a layer reads or writes. */
  readonly maps: readonly FeatureMap[];
  /** Sentences about what is not counted. */
  readonly warnings: readonly string[];
}

/** `shapes` are sizes by value name (observed or inferred); where it has no entry the static shapes that the model states are used. */
export function networkLayers(model: Model, shapes: ReadonlyMap<string, readonly number[]>): NetworkLayers {
  return new LayerReader(model, shapes).read();
}

/** These only say how a map is addressed: writing it in another order costs nothing. */
const views: ReadonlySet<string> = new Set(
  'Reshape Flatten Squeeze Unsqueeze Identity Dropout DepthToSpace SpaceToDepth Transpose QuantizeLinear DequantizeLinear Cast'.split(' '),
);

interface OpenMap extends FeatureMap {
  readonly names: string[];
  isInterface: boolean;
}

interface OpenLayer {
  readonly place: number;
  readonly first: Node;
  readonly weights: LayerWeight[];
  readonly inputs: Set<OpenMap>;
  /** Values that the layer makes, before views. */
  outputs: Value[];
}

interface Constant {
  readonly name: string;
  readonly tensor: Tensor;
}

class LayerReader {
  private readonly graph: Graph;
  private readonly layers: OpenLayer[] = [];
  private readonly mapOf = new Map<Value, OpenMap>();
  private readonly layerOf = new Map<Value, OpenLayer>();
  private readonly constants = new Map<Value, Constant>();
  private readonly unsized: string[] = [];

  constructor(
    private readonly model: Model,
    private readonly shapes: ReadonlyMap<string, readonly number[]>,
  ) {
    this.graph = model.graph;
  }

  read(): NetworkLayers {
    for (const [value, tensor] of this.graph.initializers) this.constants.set(value, { name: value.name, tensor });
    for (const input of this.graph.inputs) if (!this.constants.has(input)) this.addMap(input, true);
    for (const node of this.graph.nodes) this.visit(node);
    for (const output of this.graph.outputs) {
      const map = this.mapOf.get(output);
      if (map) map.isInterface = true;
    }
    const macs = countMacs(this.model, this.shapes);
    const macsOf = new Map(macs.perNode.map((entry) => [entry.node, entry.macs]));
    const layers = this.layers.map((layer) => this.finish(layer, macsOf));
    return {
      layers,
      maps: [...new Set(layers.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]))],
      warnings: [
        ...(this.unsized.length > 0 ? [`traffic: ${this.unsized.length} maps are not counted, because their sizes are not known.`] : []),
        ...(macs.unknown.length > 0 ? [`traffic: the multiplications of ${macs.unknown.length} nodes are not counted.`] : []),
      ],
    };
  }

  private visit(node: Node): void {
    const read = node.inputs.filter((value): value is Value => value !== null && this.mapOf.has(value));
    if (read.length === 0) this.visitConstant(node);
    else if (isView(node) || isBoundOfInput(node, this.graph)) this.alias(node);
    else if (operatorTraits(node.domain, node.opType)?.category !== 'shape') this.takeIn(node, read);
  }

  /** What comes from constants alone is no map; an initializer stays one behind views. */
  private visitConstant(node: Node): void {
    const [output] = node.outputs;
    const held = node.attributes.get('value');
    if (output && node.opType === 'Constant' && held?.kind === 'tensor')
      this.constants.set(output, { name: output.name, tensor: held.value });
    const source = node.inputs[0] && isView(node) ? this.constants.get(node.inputs[0]) : undefined;
    if (output && source) this.constants.set(output, source);
  }

  private addMap(value: Value, isInterface: boolean): void {
    const dims = this.sizes(value);
    if (dims)
      this.mapOf.set(value, { names: [value.name], elements: elementCount(dims), rows: dims.length > 2 ? (dims[2] ?? 1) : 1, isInterface });
    else this.unsized.push(value.name);
  }

  private alias({ inputs: [input], outputs: [output] }: Node): void {
    const map = input && this.mapOf.get(input);
    if (!map || !output) return;
    map.names.push(output.name);
    this.mapOf.set(output, map);
    const layer = this.layerOf.get(input);
    if (layer) this.layerOf.set(output, layer);
  }

  /** The layer that a pointwise node rides with: the last one that it reads from, when nobody else reads what that one makes. */
  private hostOf(node: Node, read: readonly Value[]): OpenLayer | undefined {
    if (operatorTraits(node.domain, node.opType)?.category !== 'elementwise' && node.opType !== 'BatchNormalization') return undefined;
    const [value] = [...read].sort((a, b) => (this.layerOf.get(b)?.place ?? -1) - (this.layerOf.get(a)?.place ?? -1));
    const host = value && this.layerOf.get(value);
    return value && host?.outputs.length === 1 && this.isPrivate(value, node) ? host : undefined;
  }

  /** Whether every value from what the layer makes to what `node` reads has one reader and is no output of the network. */
  private isPrivate(value: Value, node: Node): boolean {
    const maker = value.producer;
    if (value.consumers.length !== 1 || value.consumers[0] !== node || this.graph.isOutput(value) || !maker) return false;
    return !isView(maker) || (maker.inputs[0] ? this.isPrivate(maker.inputs[0], maker) : false);
  }

  private takeIn(node: Node, read: readonly Value[]): void {
    const host = this.hostOf(node, read);
    if (host) this.join(host, node);
    else this.open(node);
  }

  private open(node: Node): void {
    const layer: OpenLayer = { place: this.layers.length, first: node, weights: [], inputs: new Set(), outputs: [] };
    this.layers.push(layer);
    this.take(layer, node);
  }

  /** What the layer made so far stays in registers. */
  private join(layer: OpenLayer, node: Node): void {
    const inner = new Set(layer.outputs.map((value) => this.mapOf.get(value)));
    for (const [value, map] of this.mapOf) if (inner.has(map)) this.mapOf.delete(value);
    this.take(layer, node);
  }

  private take(layer: OpenLayer, node: Node): void {
    for (const value of new Set(node.inputs)) {
      const map = value && this.mapOf.get(value);
      if (map) layer.inputs.add(map);
      const constant = value && this.constants.get(value);
      if (constant && isWeight(constant, value)) layer.weights.push({ name: constant.name, elements: this.fetched(node, constant.tensor) });
    }
    layer.outputs = node.outputs.filter((value): value is Value => value !== null && (value.isRead || this.graph.isOutput(value)));
    for (const value of layer.outputs) {
      this.addMap(value, false);
      this.layerOf.set(value, layer);
    }
  }

  /** Of an embedding only the rows that are looked up are fetched. */
  private fetched(node: Node, { dims }: Tensor): number {
    const output = node.opType === 'Gather' && node.outputs[0] ? this.sizes(node.outputs[0]) : undefined;
    return output ? Math.min(elementCount(dims), elementCount(output)) : elementCount(dims);
  }

  private finish(layer: OpenLayer, macsOf: ReadonlyMap<string, number>): NetworkLayer {
    const { first } = layer;
    const node = first.name || (first.outputs.find((output) => output !== null)?.name ?? first.opType);
    const inputs = [...layer.inputs];
    const weight = first.inputs[1] ? this.constants.get(first.inputs[1])?.tensor : undefined;
    return {
      node,
      op_type: first.opType,
      weights: layer.weights,
      inputs,
      outputs: layer.outputs.flatMap((value) => this.mapOf.get(value) ?? []),
      macs: macsOf.get(node) ?? 0,
      window: rowWindow(first, { rows: inputs[0]?.rows ?? 1, kernel: weight?.dims[2] }),
    };
  }

  private sizes(value: Value): readonly number[] | undefined {
    const known = this.shapes.get(value.name);
    if (known) return known;
    const stated = value.type?.kind === 'tensor' ? value.type.shape : null;
    return stated?.every((size): size is number => typeof size === 'number') ? stated : undefined;
  }
}

/** Quantizers of 16-bit codes are operators of onnxruntime in older operator sets. */
function isView({ domain, opType }: Node): boolean {
  return (domain === '' || (domain === 'com.microsoft' && /^(De)?[Qq]uantizeLinear$/.test(opType))) && views.has(opType);
}

/** Values of an input are bounded where they are quantized, before they are written. */
function isBoundOfInput({ domain, opType, inputs: [input] }: Node, graph: Graph): boolean {
  return (
    domain === '' && opType === 'Clip' && input !== null && input !== undefined && graph.inputs.includes(input) && input.uses.length === 1
  );
}

/** Sizes, axes and single numbers are none. An int32 is a weight (a bias) only behind a DequantizeLinear. */
function isWeight({ name, tensor }: Constant, value: Value): boolean {
  if (elementCount(tensor.dims) < 2) return false;
  if (isFloating(tensor.dataType) || /^u?int(2|4|8|16)$/.test(tensor.dataType)) return true;
  return tensor.dataType === 'int32' && value.name !== name;
}
