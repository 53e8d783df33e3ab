/** Recognises the LSTM and GRU nodes that can be written as a loop over one cell, and says of the others why they are left. */
import { float32Values, type Graph, intAttribute, type Node, stringAttribute } from '../ir/index.js';
import { allFinite } from '../layers/finite-values.js';
import { type Constant, reportName, type WeightStore } from '../layers/weight-store.js';

export interface RecurrentLayer {
  readonly node: Node;
  readonly kind: 'LSTM' | 'GRU';
  /** [directions, gates hidden, inputs]. */
  readonly weight: Constant;
  /** [directions, gates hidden, hidden]. */
  readonly recurrence: Constant;
  /** [directions, 2 gates hidden]: of the input, then of the recurrence. */
  readonly bias: Constant | null;
  readonly directions: number;
  readonly inputs: number;
  readonly hidden: number;
  /** 4 for LSTM (input, output, forget, cell), 3 for GRU (update, reset, hidden). */
  readonly gates: number;
  /** Reads the sequence from its end: by direction. */
  readonly backwards: readonly boolean[];
  /** GRU: the reset gate multiplies what the recurrence made, not what it reads. */
  readonly resetAfter: boolean;
}

const gateCounts = { LSTM: 4, GRU: 3 } as const;
const usualActivations = { LSTM: ['sigmoid', 'tanh', 'tanh'], GRU: ['sigmoid', 'tanh'] } as const;

/** The layer that a node of the main graph is, or the reason why it is left; null for other operators. */
export function recurrentLayer(node: Node, store: WeightStore): RecurrentLayer | { readonly reason: string } | null {
  const kind = node.domain === '' && (node.opType === 'LSTM' || node.opType === 'GRU') ? node.opType : null;
  if (!kind) return node.domain === '' && node.opType === 'RNN' ? { reason: 'a plain RNN has no gates; use weight-only' } : null;
  const reason = rareForm(node, kind);
  if (reason) return { reason };
  const [weight, recurrence, bias] = [1, 2, 3].map((at) => store.constant(node.inputs[at]));
  if (!weight || !recurrence || (node.inputs[3] && !bias)) return { reason: 'its weights are not constant' };
  if (bias && bias.value.consumers.length > 1) return { reason: 'its bias is shared with another node' };
  for (const { tensor, value } of [weight, recurrence, ...(bias ? [bias] : [])]) {
    if (tensor.dataType !== 'float32') return { reason: `its weight "${value.name}" is ${tensor.dataType}, not float32` };
    if (!allFinite(float32Values(tensor))) return { reason: `its weight "${value.name}" holds values that are not finite numbers` };
  }
  const gates = gateCounts[kind];
  const [directions = 0, rows = 0, inputs = 0] = weight.tensor.dims;
  const hidden = rows / gates;
  if (recurrence.tensor.dims.join() !== [directions, rows, hidden].join()) return { reason: 'the shapes of its weights do not agree' };
  const direction = stringAttribute(node, 'direction', 'forward');
  const backwards = direction === 'bidirectional' ? [false, true] : [direction === 'reverse'];
  const resetAfter = intAttribute(node, 'linear_before_reset', 0) === 1;
  return { node, kind, weight, recurrence, bias: bias ?? null, directions, inputs, hidden, gates, backwards, resetAfter };
}

function rareForm(node: Node, kind: 'LSTM' | 'GRU'): string | null {
  if (node.inputs[4]) return 'sequences of different lengths (sequence_lens) are not taken apart';
  if (node.inputs[7]) return 'peepholes are not taken apart';
  if (node.attributes.has('clip')) return 'clipped cells are not taken apart';
  if (intAttribute(node, 'input_forget', 0) !== 0) return 'coupled input and forget gates are not taken apart';
  if (intAttribute(node, 'layout', 0) !== 0) return 'the batch-first layout is not taken apart';
  const given = node.attributes.get('activations');
  if (given?.kind !== 'strings') return null;
  const usual = usualActivations[kind];
  const decoder = new TextDecoder();
  const isUsual = given.value.every((name, at) => decoder.decode(name).toLowerCase() === usual[at % usual.length]);
  return isUsual ? null : 'activations other than the default are not taken apart';
}

/** The recurrent layers of the main graph in their order, and the nodes that are left, with the reason. */
export function recurrentLayers(
  graph: Graph,
  store: WeightStore,
  isExcluded: (name: string) => boolean,
): { layers: RecurrentLayer[]; left: { node: Node; reason: string }[] } {
  const layers: RecurrentLayer[] = [];
  const left: { node: Node; reason: string }[] = [];
  for (const node of graph.nodes) {
    const found = recurrentLayer(node, store);
    if (!found) continue;
    if ('reason' in found) left.push({ node, reason: found.reason });
    else if (isExcluded(reportName(node))) left.push({ node, reason: 'excluded by the recipe' });
    else layers.push(found);
  }
  return { layers, left };
}
