/** Which weights quantization-aware training rounds: those of convolutions and of products with a constant matrix. */
import { intAttribute, type Model, type Node } from '../ir/index.js';
import { matrixLayout } from '../layers/channel-layout.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { endsOf } from '../layers/end-layers.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { type Constant, reportName, type WeightStore } from '../layers/weight-store.js';
import { isWorthStoring, type PlannedWeight, planStorage, type StoredBits } from '../quantization/weight-storage/index.js';

export type TrainedWeight = Omit<PlannedWeight, 'kind'>;

export interface TrainedLayers {
  readonly weights: readonly TrainedWeight[];
  readonly left: readonly { readonly node: Node; readonly reason: string }[];
}

export interface TrainedLayersRequest {
  readonly bits: StoredBits;
  /** The first and the last layer of the model keep 8 bits. */
  readonly protectEnds: boolean;
  readonly exclude: readonly string[];
}

/** Of the main graph, each weight once. */
export function trainedLayers(model: Model, store: WeightStore, request: TrainedLayersRequest): TrainedLayers {
  const { bits, protectEnds, exclude } = request;
  const { graph } = model;
  const plan = planStorage(model, store, { convBits: bits, recurrentBits: 32, protectEnds, exclude });
  const convolutions = plan.weights.filter(({ kind, nodes }) => kind === 'convolution' && nodes.every((node) => node.graph === graph));
  const dense = denseWeights(model, store, request);
  return { weights: [...convolutions, ...dense.weights], left: [...plan.left, ...dense.left] };
}

function denseWeights(model: Model, store: WeightStore, { bits, protectEnds, exclude }: TrainedLayersRequest): TrainedLayers {
  const ends = protectEnds ? endsOf(model.graph, store) : new Set<Node>();
  const isExcluded = nameMatcher(exclude);
  const layers = new Map<Node, DenseLayer>();
  const left: TrainedLayers['left'][number][] = [];
  for (const node of model.graph.nodes) {
    if ((node.opType !== 'MatMul' && node.opType !== 'Gemm') || node.domain !== '') continue;
    const found = denseLayer(node, store);
    const reason = 'reason' in found ? found.reason : obstacle(found, isExcluded);
    if (reason !== null) left.push({ node, reason });
    else if (!('reason' in found)) layers.set(node, found);
  }
  const weights = new Map<Constant, TrainedWeight>();
  for (const { node, weight: constant, reductionAxis } of layers.values()) {
    const nodes = constant.value.consumers;
    const layout = matrixLayout(reductionAxis, constant.tensor.dims);
    const planned = { constant, nodes, layout, bits: nodes.some((reader) => ends.has(reader)) ? 8 : bits } as const;
    const stranger = nodes.find((reader) => layers.get(reader)?.reductionAxis !== reductionAxis);
    if (stranger) left.push({ node, reason: `its weight is shared with ${reportName(stranger)}, which reads it otherwise` });
    else if (isWorthStoring(planned)) weights.set(constant, planned);
    else left.push({ node, reason: 'its weight is so small that storing it in few bits would not make the file smaller' });
  }
  return { weights: [...weights.values()], left };
}

function obstacle({ node, weight }: DenseLayer, isExcluded: (name: string) => boolean): string | null {
  if (isExcluded(reportName(node))) return 'excluded by the recipe';
  if (intAttribute(node, 'transA', 0) === 1) return 'its activation is transposed (transA)';
  return node.inputs[1] === weight.value ? null : 'its weight is turned around before it is read';
}
