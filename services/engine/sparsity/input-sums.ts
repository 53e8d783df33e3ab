/** What the readers of weights see as their inputs, summed over the samples. */
import { intAttribute, type Model, type Node } from '../ir/index.js';
import { reportName, type WeightStore } from '../layers/weight-store.js';
import { convolutionWindow, gramMatrices } from '../normal-equations/gram-matrices.js';
import { inputEnergies } from '../normal-equations/input-energies.js';
import type { RowSumRequest, SummedLayer } from '../normal-equations/row-sums.js';
import type { PrunableWeight, WeightReader } from './prunable-weights.js';
import type { InputSums } from './prune-matrix.js';

export interface InputSumRequest extends Omit<RowSumRequest, 'layers'> {
  readonly weights: readonly PrunableWeight[];
  readonly kind: InputSums['kind'];
  /** The node of `model` that stands for a reader; undefined for one that is not in its main graph. */
  twinOf(node: Node): Node | undefined;
}

/** By weight; over all its readers whose inputs can be seen and which use it in the same way. Without any, a weight is missing. */
export async function inputSums(request: InputSumRequest): Promise<Map<PrunableWeight, InputSums>> {
  const keys = new Map<PrunableWeight, string[]>();
  const layers: SummedLayer[] = [];
  for (const weight of request.weights) {
    for (const layer of observableReaders(weight, request)) {
      layers.push(layer);
      keys.set(weight, [...(keys.get(weight) ?? []), layer.key]);
    }
  }
  const parts = await sums({ ...request, layers }, request.kind);
  const found = new Map<PrunableWeight, InputSums>();
  for (const [weight, names] of keys) {
    const [first, ...others] = names.flatMap((name) => parts.get(name) ?? []);
    if (!first) continue;
    const values =
      others.length === 0
        ? first.values
        : first.values.map((value, at) => others.reduce((sum, other) => sum + (other.values[at] ?? 0), value));
    found.set(weight, { ...first, values });
  }
  return found;
}

async function sums(request: RowSumRequest, kind: InputSums['kind']): Promise<Map<string, InputSums>> {
  if (request.layers.length === 0) return new Map();
  const found = new Map<string, InputSums>();
  if (kind === 'gram') {
    for (const [key, { gram, groups, rows }] of await gramMatrices(request)) if (rows > 0) found.set(key, { kind, groups, values: gram });
  } else {
    for (const [key, { squares, groups, rows }] of await inputEnergies(request))
      if (rows > 0) found.set(key, { kind, groups, values: squares });
  }
  return found;
}

type KeyedLayer = SummedLayer & { readonly key: string };

/** None of a weight that is an embedding table, too: making up for zeros in its products would move the rows that are looked up. */
function observableReaders({ constant, position, readers }: PrunableWeight, { twinOf }: InputSumRequest): KeyedLayer[] {
  if (readers.some(({ node }) => node.opType === 'Gather')) return [];
  const form = JSON.stringify(readers[0].form);
  return readers.flatMap((reader, at) => {
    const twin = twinOf(reader.node);
    const layer = twin && JSON.stringify(reader.form) === form ? rowsOf(twin, reader, constant.tensor.dims) : null;
    return layer ? [{ ...layer, key: `${position} ${at}` }] : [];
  });
}

/** Where the inputs of a weight are; null where none are multiplied with it, or not along their last axis. */
function rowsOf(node: Node, { index, form }: WeightReader, dims: readonly number[]): Omit<SummedLayer, 'key'> | null {
  const activation = node.inputs[0]?.name;
  const { depth } = form.matrix;
  switch (node.opType) {
    case 'Conv':
    case 'ConvTranspose':
      return activation === undefined ? null : { activation, depth, window: convolutionWindow(node, dims) };
    case 'MatMul':
    case 'Gemm':
      return activation === undefined || intAttribute(node, 'transA', 0) === 1 ? null : { activation, depth };
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      if (index === 2)
        return {
          activation: node.outputs[0]?.name ?? '',
          depth,
          states: { directions: dims[0] ?? 1, batchFirst: intAttribute(node, 'layout', 0) === 1 },
        };
      return activation === undefined ? null : { activation, depth };
    default:
      return null;
  }
}

/**
 * Makes recurrent nodes give out Y, the states after each step: but for the first and the last one they are what the recurrence
 * weights are multiplied with (those of the third gate of a GRU that resets before it multiplies, times its reset gate).
 */
export function exposeStates({ graph }: Model, store: WeightStore): void {
  for (const node of graph.nodes) {
    const isRecurrent = node.opType === 'LSTM' || node.opType === 'GRU' || node.opType === 'RNN';
    if (isRecurrent && node.domain === '' && !node.outputs[0]) node.setOutput(0, store.newValue(`${reportName(node)}_states`));
  }
}

/** The twins of the nodes of the main graph of `model` in its copy. */
export function twinsIn(copy: Model, model: Model): ReadonlyMap<Node, Node> {
  const twins = new Map<Node, Node>();
  for (const [at, node] of model.graph.nodes.entries()) {
    const twin = copy.graph.nodes[at];
    if (twin) twins.set(node, twin);
  }
  return twins;
}
