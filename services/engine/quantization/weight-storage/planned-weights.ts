/** Which weights are stored in how many bits: layers are found, weights shared by several are taken once, the rest gets a reason. */
import { graphsWithin, type Model, type Node } from '../../ir/index.js';
import { type ChannelLayout, channelCount, channelLayout } from '../../layers/channel-layout.js';
import { endsOf } from '../../layers/end-layers.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';
import type { LowBitOptions } from './options.js';
import { packedBytes } from './packed-codes.js';
import { type StoredLayer, storedLayer } from './stored-layers.js';
import type { StoredBits } from './stored-weight.js';

export interface PlannedWeight {
  readonly constant: Constant;
  /** The layers that read it. */
  readonly nodes: readonly Node[];
  readonly kind: StoredLayer['kind'];
  readonly layout: ChannelLayout;
  readonly bits: StoredBits;
}

export interface StoragePlan {
  readonly weights: readonly PlannedWeight[];
  readonly left: readonly { readonly node: Node; readonly reason: string }[];
}

/** Bytes of the names and nodes that unpack one weight, roughly. */
const NODE_BYTES = 250;

export function planStorage(model: Model, store: WeightStore, options: LowBitOptions): StoragePlan {
  const left = new Map<Node, string>();
  const layers = new Map<Node, StoredLayer>();
  const refusal = refusalOf(options);
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      const found = storedLayer(node, store);
      if (!found) continue;
      const reason = 'reason' in found ? found.reason : refusal(found);
      if (reason !== null) left.set(node, reason);
      else if (!('reason' in found)) layers.set(node, found);
    }
  }
  const ends = options.ends ?? (options.protectEnds === false ? new Set<Node>() : endsOf(model.graph, store));
  const weights = new Map<Constant, PlannedWeight>();
  for (const layer of layers.values()) {
    for (const constant of layer.weights) {
      const nodes = constant.value.consumers;
      const stranger = nodes.find((node) => !layers.has(node));
      const bits = chosenBits(nodes, options) ?? (nodes.some((node) => ends.has(node)) ? 8 : bitsOf(layer, options));
      const planned = { constant, nodes, kind: layer.kind, layout: channelLayout(layer.node, constant.tensor.dims), bits };
      if (stranger) left.set(layer.node, `its weight is shared with ${reportName(stranger)}, which stays float32`);
      else if (isWorthStoring(planned)) weights.set(constant, planned);
    }
  }
  for (const { node, weights: own } of layers.values()) {
    if (!left.has(node) && !own.some((constant) => weights.has(constant)))
      left.set(node, 'its weight is so small that storing it in few bits would not make the file smaller');
  }
  return { weights: [...weights.values()], left: [...left].map(([node, reason]) => ({ node, reason })) };
}

/** Why a layer stays float32 by the recipe; null when it does not. */
function refusalOf({ opTypes, exclude = [], convBits, recurrentBits, layerBits }: LowBitOptions): (layer: StoredLayer) => string | null {
  const isExcluded = nameMatcher(exclude);
  return ({ node, kind }) => {
    if (opTypes && !opTypes.includes(node.opType)) return `op_types does not name ${node.opType}`;
    if (isExcluded(reportName(node))) return 'excluded by the recipe';
    const chosen = layerBits?.get(reportName(node));
    if (chosen !== undefined) return chosen === 32 ? 'stays float32, as it is most sensitive for its bytes' : null;
    if (kind === 'convolution' && convBits === 32) return 'conv_bits is 32';
    return kind === 'recurrent' && recurrentBits === 32 ? 'recurrent_bits is 32' : null;
  };
}

/** What was decided for the readers of a weight one by one: the most bits of any. */
function chosenBits(nodes: readonly Node[], { layerBits }: LowBitOptions): StoredBits | undefined {
  const chosen = nodes.flatMap((node) => layerBits?.get(reportName(node)) ?? []).filter((bits) => bits !== 32);
  return chosen.length === 0 ? undefined : (Math.max(...chosen) as StoredBits);
}

function bitsOf({ kind }: StoredLayer, { convBits = 8, recurrentBits = 8 }: LowBitOptions): StoredBits {
  const bits = kind === 'convolution' ? convBits : recurrentBits;
  return bits === 32 ? 8 : bits;
}

/** Whether codes, scales and the nodes that widen them take less than the weight. */
export function isWorthStoring(planned: Pick<PlannedWeight, 'bits' | 'layout' | 'constant'>): boolean {
  return storedBytes(planned) + NODE_BYTES < planned.constant.tensor.data.byteLength;
}

/** Bytes of codes and scales. */
export function storedBytes({ bits, layout, constant }: Pick<PlannedWeight, 'bits' | 'layout' | 'constant'>): number {
  const count = constant.tensor.data.byteLength / 4;
  return (bits === 8 ? count : packedBytes(bits, count)) + 4 * channelCount(layout);
}
