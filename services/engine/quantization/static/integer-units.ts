/** Finds what a model could compute on 8-bit codes: layers with their bias and activation, and the operators between layers. */
import { float32Values, floatAttribute, type Graph, type Node, type Value } from '../../ir/index.js';
import { type ConvLayer, convLayer } from '../../layers/conv-layers.js';
import { type DenseLayer, denseLayer } from '../../layers/dense-layers.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';
import { integerKernel } from './integer-kernels.js';
import { readersBounds, unbounded } from './saturating-readers.js';

/** One operator of the integer part, with the nodes that vanish into it. */
export interface IntegerUnit {
  /** Name of `node`, unique in the graph. */
  readonly name: string;
  readonly node: Node;
  readonly role: 'layer' | 'own-range' | 'same-range';
  readonly layer: ConvLayer | DenseLayer | null;
  /** Tensors read as codes. */
  readonly inputs: readonly Value[];
  /** Constant operands of Add, Mul or Concat, by input index. */
  readonly constants: ReadonlyMap<number, Constant>;
  /** Relu or Clip behind the operator that a range can make redundant; its output is `output`. */
  readonly activation: Node | null;
  /** Bounds that the activation sets on the output. */
  readonly bounds: { readonly low: number; readonly high: number };
  readonly output: Value;
  readonly fixedRange: readonly [number, number] | null;
}

export interface UnitSearch {
  readonly units: readonly IntegerUnit[];
  /** Nodes that hold weights or could compute on codes and do not, with the reason. */
  readonly left: ReadonlyMap<Node, string>;
}

/** Units of the main graph in its order. `isWanted` says no by a reason. */
export function findUnits(
  graph: Graph,
  { store, opset, refusal }: { readonly store: WeightStore; readonly opset: number; refusal(node: Node): string | null },
): UnitSearch {
  const units: IntegerUnit[] = [];
  const left = new Map<Node, string>();
  /** Add nodes that are the bias of a product before them. */
  const biases = new Set<Node>();
  for (const node of graph.nodes) {
    if (biases.has(node)) continue;
    const kernel = integerKernel(node, opset);
    if (kernel.role === 'absorbed') continue;
    if (kernel.role === 'float') {
      left.set(node, kernel.reason);
      continue;
    }
    const refused = refusal(node);
    const found = refused !== null ? { reason: refused } : unitOf(node, { kernel, store, graph });
    if ('reason' in found) left.set(node, found.reason);
    else {
      units.push(found);
      if (found.layer?.kind === 'dense' && found.layer.bias?.add) biases.add(found.layer.bias.add);
    }
  }
  return { units, left };
}

type Kernel = Exclude<ReturnType<typeof integerKernel>, { role: 'float' | 'absorbed' }>;

function unitOf(
  node: Node,
  { kernel, store, graph }: { kernel: Kernel; store: WeightStore; graph: Graph },
): IntegerUnit | { readonly reason: string } {
  if (kernel.role !== 'layer') return betweenLayers(node, { kernel, store, graph });
  const layer = kernel.layer === 'conv' ? convLayer(node, store) : denseLayer(node, store);
  if ('reason' in layer) return layer;
  if (layer.kind === 'dense') {
    const obstacle = denseObstacle(layer);
    if (obstacle) return { reason: obstacle };
  }
  const last = layer.kind === 'dense' ? (layer.bias?.add ?? node) : node;
  return {
    ...{ name: node.name, node, role: 'layer', layer, inputs: [layer.activation], constants: new Map(), fixedRange: null },
    ...withActivation(last, store, graph),
  };
}

function denseObstacle({ integerObstacle, bias }: DenseLayer): string | null {
  if (integerObstacle) return integerObstacle;
  return bias && !bias.vector ? 'its bias is not a constant vector' : null;
}

function betweenLayers(
  node: Node,
  { kernel, store, graph }: { kernel: Exclude<Kernel, { role: 'layer' }>; store: WeightStore; graph: Graph },
): IntegerUnit | { readonly reason: string } {
  const [first] = node.inputs;
  const all = kernel.role === 'same-range' || node.inputs.length === 1 ? [first ?? null] : node.inputs;
  const inputs: Value[] = [];
  const constants = new Map<number, Constant>();
  for (const [index, value] of all.entries()) {
    const constant = store.constant(value);
    if (!value) return { reason: 'an input is missing' };
    if (!constant) inputs.push(value);
    else if (constant.tensor.dataType === 'float32') constants.set(index, constant);
    else return { reason: `it works on ${constant.tensor.dataType}` };
  }
  if (inputs.length === 0) return { reason: 'it reads constants only' };
  if (inputs.some((value) => value.type?.kind === 'tensor' && value.type.dataType !== null && value.type.dataType !== 'float32'))
    return { reason: 'it does not work on float32' };
  const output = node.outputs[0];
  if (!output) return { reason: 'it has no output' };
  const fixedRange = kernel.role === 'own-range' ? (kernel.fixedRange ?? null) : null;
  const plain = { activation: null, bounds: unbounded, output };
  const tail = kernel.role === 'own-range' && !fixedRange ? withActivation(node, store, graph) : plain;
  return { name: node.name, node, role: kernel.role, layer: null, inputs, constants, fixedRange, ...tail };
}

/** The Relu or Clip that alone reads what `node` makes. */
function withActivation(node: Node, store: WeightStore, graph: Graph): Pick<IntegerUnit, 'activation' | 'bounds' | 'output'> {
  const output = node.outputs[0];
  if (!output) throw new Error(`node ${reportName(node)} has no output`);
  const plain = { activation: null, bounds: readersBounds(output, graph), output };
  const [reader, another] = output.uses;
  if (!reader || another || store.isGraphOutput(output) || reader.node.graph !== graph || reader.index !== 0) return plain;
  const bounds = activationBounds(reader.node, store);
  const activated = reader.node.outputs[0];
  return bounds && activated ? { activation: reader.node, bounds, output: activated } : plain;
}

function activationBounds(node: Node, store: WeightStore): { low: number; high: number } | null {
  if (node.domain !== '') return null;
  if (node.opType === 'Relu') return { low: 0, high: Number.POSITIVE_INFINITY };
  if (node.opType !== 'Clip') return null;
  const low = clipBound(node, 1, store) ?? floatAttribute(node, 'min', undefined) ?? Number.NEGATIVE_INFINITY;
  const high = clipBound(node, 2, store) ?? floatAttribute(node, 'max', undefined) ?? Number.POSITIVE_INFINITY;
  const isConstant = [1, 2].every((index) => !node.inputs[index] || clipBound(node, index, store) !== undefined);
  return isConstant ? { low, high } : null;
}

function clipBound(node: Node, index: number, store: WeightStore): number | undefined {
  const tensor = store.constant(node.inputs[index])?.tensor;
  return tensor?.dataType === 'float32' ? float32Values(tensor)[0] : undefined;
}
