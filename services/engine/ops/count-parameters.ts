/** The constants of a model, and how many of their elements are parameters. */
import { allGraphs, type DataType, elementCount, type Model, type Node, type Tensor } from '../ir/index.js';

/** Shapes, indices, flags and text; everything else that is constant is a weight. */
const typesWithoutParameters: ReadonlySet<DataType> = new Set(['int64', 'bool', 'string']);

export function holdsParameters(dataType: DataType): boolean {
  return !typesWithoutParameters.has(dataType);
}

/** Every constant tensor of the model: initializers, sparse ones, and the tensors that nodes carry as attributes. */
function* constantTensors(model: Model): Generator<Tensor> {
  for (const graph of allGraphs(model)) {
    yield* graph.initializers.values();
    for (const { values, indices } of graph.sparseInitializers.values()) yield* [values, indices];
    for (const node of graph.nodes) yield* attributeTensors(node);
  }
}

function* attributeTensors(node: Node): Generator<Tensor> {
  for (const attribute of node.attributes.values()) {
    if (attribute.kind === 'tensor') yield attribute.value;
    else if (attribute.kind === 'tensors') yield* attribute.value;
  }
}

/** Tensors may share their bytes, as cloned functions do; stored once, counted once. Empty ones share nothing. */
export function* distinctTensors(model: Model): Generator<Tensor> {
  const counted = new Set<Tensor['data']>();
  for (const tensor of constantTensors(model)) {
    if (tensor.data.byteLength > 0 && counted.has(tensor.data)) continue;
    counted.add(tensor.data);
    yield tensor;
  }
}

/** Elements of weights; MatMulNBits packs 8 / bits of them into each uint8 element of its input B. */
export function parameterCount(model: Model): number {
  let count = 0;
  for (const { dataType, dims } of distinctTensors(model)) if (holdsParameters(dataType)) count += elementCount(dims);
  const constants = new Map([...allGraphs(model)].flatMap((graph) => [...graph.initializers]));
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes) {
      const weight = node.opType === 'MatMulNBits' ? node.inputs[1] : null;
      const packed = weight && constants.get(weight);
      if (packed) count += elementCount(packed.dims) * (8 / packedBits(node) - 1);
    }
  }
  return count;
}

/** 4 unless the node says otherwise; what it says was checked by nobody yet. */
function packedBits(node: Node): number {
  const bits = node.attributes.get('bits');
  return bits?.kind === 'int' && (bits.value === 2n || bits.value === 8n) ? Number(bits.value) : 4;
}
