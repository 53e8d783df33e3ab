/** Finds the weights that can be held in blocks, with every layer that reads them, and says of the others why they are left. */
import { graphsWithin, type Model, type Node } from '../../ir/index.js';
import { type DenseLayer, denseLayer } from '../../layers/dense-layers.js';
import { type EmbeddingLookup, embeddingLookup } from '../../layers/embedding-tables.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';
import type { WeightOnlyOptions } from './options.js';

export type BlockLayer = DenseLayer | EmbeddingLookup;

/** One constant and its readers, all of which take it in blocks. */
export interface SharedWeight {
  readonly constant: Constant;
  /** The axis along which the blocks run: the one that products sum over, the last one of a table. */
  readonly axis: 0 | 1;
  readonly products: readonly DenseLayer[];
  readonly lookups: readonly EmbeddingLookup[];
}

export interface LeftNode {
  readonly node: Node;
  readonly reason: string;
}

export interface BlockLayers {
  /** In the order of their first readers. */
  readonly weights: readonly SharedWeight[];
  readonly left: readonly LeftNode[];
}

/** Every layer of the model, branches and bodies included. */
export function findBlockLayers(model: Model, store: WeightStore, options: WeightOnlyOptions): BlockLayers {
  const layers = new Map<Node, BlockLayer>();
  const left: LeftNode[] = [];
  const selects = selection(options);
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      const found = layerOf(node, store);
      if (!found) continue;
      const obstacle = 'reason' in found ? found.reason : selects(node);
      if (obstacle !== null) left.push({ node, reason: obstacle });
      else if (!('reason' in found)) layers.set(node, found);
    }
  }
  leaveSharedFloatWeights(layers, left, store);
  return { weights: sharedWeights(layers.values()), left };
}

function layerOf(node: Node, store: WeightStore): BlockLayer | { readonly reason: string } | null {
  if (node.domain !== '') return null;
  if (node.opType === 'Gather') return embeddingLookup(node, store);
  return node.opType === 'MatMul' || node.opType === 'Gemm' ? denseLayer(node, store) : null;
}

/** Why the recipe leaves a node; null when it does not. */
function selection({ op_types, exclude, embedding_bits }: WeightOnlyOptions): (node: Node) => string | null {
  const isExcluded = nameMatcher(exclude ?? []);
  return (node) => {
    if (op_types && !op_types.includes(node.opType)) return `op_types does not name ${node.opType}`;
    if (isExcluded(reportName(node))) return 'excluded by the recipe';
    return node.opType === 'Gather' && embedding_bits === 32 ? 'embedding_bits is 32 in the recipe' : null;
  };
}

/** A weight that something else needs in float32 would be stored twice; repeated, as leaving one layer may strand another. */
function leaveSharedFloatWeights(layers: Map<Node, BlockLayer>, left: LeftNode[], store: WeightStore): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const [node, layer] of layers) {
      const stranger = strangerReading(weightOf(layer), layers, store);
      if (stranger === undefined) continue;
      layers.delete(node);
      left.push({ node, reason: `its weight is also needed in float32 by ${stranger}` });
      changed = true;
    }
  }
}

/** What reads the weight in another way than as the weight of a layer in `layers`. */
function strangerReading({ value }: Constant, layers: ReadonlyMap<Node, BlockLayer>, store: WeightStore): string | undefined {
  if (store.isGraphOutput(value)) return 'the outputs of the graph';
  for (const use of value.uses) {
    const tied = use.node.opType === 'Transpose' && use.node.domain === '' ? use.node.outputs[0] : null;
    if (tied && store.isGraphOutput(tied)) return 'the outputs of the graph';
    const stranger = (tied ? tied.uses : [use]).find(({ node, index }) => {
      const layer = layers.get(node);
      return !layer || weightOf(layer).value !== value || index !== (layer.kind === 'dense' ? 1 : 0);
    });
    if (stranger) return `${stranger.node.opType} ${reportName(stranger.node)}`;
  }
  return undefined;
}

export function weightOf(layer: BlockLayer): Constant {
  return layer.kind === 'dense' ? layer.weight : layer.table;
}

function sharedWeights(layers: Iterable<BlockLayer>): SharedWeight[] {
  const readers = new Map<Constant, BlockLayer[]>();
  for (const layer of layers) readers.set(weightOf(layer), [...(readers.get(weightOf(layer)) ?? []), layer]);
  return [...readers].map(([constant, all]) => {
    const products = all.filter((layer) => layer.kind === 'dense');
    const lookups = all.filter((layer) => layer.kind === 'embedding');
    const axis = lookups.length > 0 ? 1 : (products[0]?.reductionAxis ?? 1);
    return { constant, axis, products, lookups };
  });
}
