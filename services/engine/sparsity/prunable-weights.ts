/** Finds the weights that can have zeros, each once with all its readers, and says of the other layers why they stay dense. */
import { elementCount, float32Values, type Graph, graphsWithin, type Model, type Node } from '../ir/index.js';
import { type ChannelLayout, channelLayout, matrixLayout } from '../layers/channel-layout.js';
import { denseLayer } from '../layers/dense-layers.js';
import { embeddingLookup } from '../layers/embedding-tables.js';
import { allFinite } from '../layers/finite-values.js';
import { type Constant, reportName, type WeightStore } from '../layers/weight-store.js';
import { type WeightForm, weightForm } from './pattern-rows.js';

/** A layer that reads a weight, directly or transposed, as input `index`. */
export interface WeightReader {
  readonly node: Node;
  readonly index: number;
  readonly form: WeightForm;
}

export interface PrunableWeight {
  readonly constant: Constant;
  /** Its place among all constants of the model: names need not differ between branches. */
  readonly position: number;
  /** In graph order; the form of the first one decides where zeros may lie. */
  readonly readers: readonly [WeightReader, ...WeightReader[]];
}

export interface PrunableWeights {
  readonly weights: readonly PrunableWeight[];
  readonly left: ReadonlyMap<Node, string>;
}

/** Why the recipe keeps a layer dense; null when it does not. */
export type Selection = (node: Node) => string | null;

interface FoundWeight {
  readonly constant: Constant;
  readonly index: number;
  readonly layout: ChannelLayout;
}

/** Inputs that are weights, of the operators whose weights lie as ONNX says. */
const weightInputs: Readonly<Record<string, readonly number[]>> = {
  Conv: [1],
  ConvTranspose: [1],
  LSTM: [1, 2],
  GRU: [1, 2],
  RNN: [1, 2],
};

/** All weights of the model, branches and bodies included. A weight that one of its readers needs dense stays dense. */
export function findPrunableWeights(model: Model, store: WeightStore, selects: Selection): PrunableWeights {
  const left = new Map<Node, string>();
  const readers = new Map<Constant, WeightReader[]>();
  for (const graph of graphsWithin(model.graph)) collect(graph, { store, selects, left, readers });
  const positions = new Map(store.all().map((constant, at) => [constant, at]));
  const weights: PrunableWeight[] = [];
  for (const [constant, [first, ...others]] of readers) {
    if (!first) continue;
    const stranger = strangerReading(constant, [first, ...others], store);
    if (stranger === undefined) weights.push({ constant, position: positions.get(constant) ?? -1, readers: [first, ...others] });
    else for (const { node } of [first, ...others]) left.set(node, `its weight is also needed dense by ${stranger}`);
  }
  return { weights, left };
}

interface Collection {
  readonly store: WeightStore;
  readonly selects: Selection;
  readonly left: Map<Node, string>;
  readonly readers: Map<Constant, WeightReader[]>;
}

function collect(graph: Graph, { store, selects, left, readers }: Collection): void {
  for (const node of graph.nodes) {
    const found = weightsOf(node, store);
    if (!found) continue;
    const reason = 'reason' in found ? found.reason : selects(node);
    if (reason !== null) left.set(node, reason);
    else if (!('reason' in found)) {
      for (const { constant, index, layout } of found) {
        const form = weightForm(node, constant.tensor.dims, layout);
        readers.set(constant, [...(readers.get(constant) ?? []), { node, index, form }]);
      }
    }
  }
}

/** The weights of a layer, why it has none that can have zeros, or null for what is no layer. */
function weightsOf(node: Node, store: WeightStore): readonly FoundWeight[] | { readonly reason: string } | null {
  if (node.domain !== '') return null;
  if (node.opType === 'Gather') {
    const lookup = embeddingLookup(node, store);
    if (!lookup || 'reason' in lookup) return lookup;
    return [{ constant: lookup.table, index: 0, layout: matrixLayout(1, lookup.table.tensor.dims) }];
  }
  if (node.opType === 'MatMul' || node.opType === 'Gemm') {
    const layer = denseLayer(node, store);
    if ('reason' in layer) return layer;
    return [{ constant: layer.weight, index: 1, layout: matrixLayout(layer.reductionAxis, layer.weight.tensor.dims) }];
  }
  const inputs = weightInputs[node.opType];
  return inputs ? ownWeights(node, inputs, store) : null;
}

function ownWeights(node: Node, inputs: readonly number[], store: WeightStore): readonly FoundWeight[] | { readonly reason: string } {
  const found: FoundWeight[] = [];
  for (const index of inputs) {
    const constant = store.constant(node.inputs[index]);
    if (!constant) return { reason: obstacleOf(node, index) };
    const { tensor, value } = constant;
    if (tensor.dataType !== 'float32') return { reason: `its weight "${value.name}" is ${tensor.dataType}, not float32` };
    if (tensor.dims.length < 3 || elementCount(tensor.dims) === 0)
      return { reason: `its weight "${value.name}" has shape [${tensor.dims}]` };
    if (!allFinite(float32Values(tensor))) return { reason: `its weight "${value.name}" holds values that are not finite numbers` };
    found.push({ constant, index, layout: channelLayout(node, tensor.dims) });
  }
  return found;
}

function obstacleOf(node: Node, index: number): string {
  return node.inputs[index]?.producer?.opType === 'DequantizeLinear'
    ? 'its weight is already quantized'
    : 'its weight is computed, not constant';
}

/** What reads the weight otherwise than as one of `readers`; through a Transpose, what reads that. */
function strangerReading({ value }: Constant, readers: readonly WeightReader[], store: WeightStore): string | undefined {
  if (store.isGraphOutput(value)) return 'the outputs of the graph';
  const isReader = (node: Node, index: number): boolean => readers.some((reader) => reader.node === node && reader.index === index);
  for (const use of value.uses) {
    if (isReader(use.node, use.index)) continue;
    const [transposed] = use.node.opType === 'Transpose' && use.node.domain === '' ? use.node.outputs : [];
    if (transposed && store.isGraphOutput(transposed)) return 'the outputs of the graph';
    const stranger = transposed?.uses.find(({ node, index }) => !isReader(node, index)) ?? (transposed ? undefined : use);
    if (stranger) return `${stranger.node.opType} ${reportName(stranger.node)}`;
  }
  return undefined;
}
