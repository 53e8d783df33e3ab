/** What stays in float keeps its weights in int8 all the same: the runtime widens them once, when it loads the model. */
import { float32Values, graphsWithin, type Model, type Node } from '../../ir/index.js';
import { denseLayer } from '../../layers/dense-layers.js';
import { embeddingLookup } from '../../layers/embedding-tables.js';
import { allFinite } from '../../layers/finite-values.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { type Constant, reportName, WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, MethodOutcome, NodeChange } from '../../method.js';
import { bytesSaved, Int8Weight } from '../int8-weights.js';
import { rewriteEmbedding } from '../integer-rewriting.js';
import { storeLowBit } from '../weight-storage/index.js';

/** Stores the weights of all float layers, tables and recurrent layers of `model` in 8 bits, except nodes named by `exclude`. */
export async function storeFloatLayers(
  model: Model,
  { exclude, by }: { readonly exclude: readonly string[]; readonly by: string },
  context: MethodContext,
): Promise<MethodOutcome> {
  const products = storeProducts(model, exclude, by);
  const others = await storeLowBit(model, { convBits: 8, recurrentBits: 8, protectEnds: false, exclude }, context);
  const changes = others.nodes.filter(({ action }) => action === 'changed').map((change) => ({ ...change, by }));
  return { nodes: [...products, ...changes], ...(others.layers ? { layers: others.layers } : {}) };
}

/** Weights of products and rows of tables. */
function storeProducts(model: Model, exclude: readonly string[], by: string): NodeChange[] {
  const store = new WeightStore(model);
  const isExcluded = nameMatcher(exclude);
  const stored = new Map<Constant, Int8Weight>();
  const changes: NodeChange[] = [];
  for (const node of [...graphsWithin(model.graph)].flatMap(({ nodes }) => nodes)) {
    if (node.domain !== '' || isExcluded(reportName(node))) continue;
    const change = node.opType === 'Gather' ? storeTable(node, store) : storeProduct(node, store, stored);
    if (change) changes.push({ node: reportName(node), op_type: node.opType, action: 'changed', by, reason: change });
  }
  for (const constant of stored.keys()) store.dropIfUnread(constant);
  return changes;
}

function storeProduct(node: Node, store: WeightStore, stored: Map<Constant, Int8Weight>): string | null {
  if (node.opType !== 'MatMul' && node.opType !== 'Gemm') return null;
  const layer = denseLayer(node, store);
  if ('reason' in layer || bytesSaved(layer.weight.tensor, layer.channels) <= 0) return null;
  if (!stored.has(layer.weight)) {
    const form = { perChannel: true, pairSafe: false, reductionAxis: layer.reductionAxis, keepsLayout: true };
    const weight = new Int8Weight(store, layer.weight, form);
    stored.set(layer.weight, weight);
    weight.widenAtLoad();
  }
  return 'weight stored as int8 and widened to float32 when the model is loaded';
}

function storeTable(node: Node, store: WeightStore): string | null {
  const lookup = embeddingLookup(node, store);
  if (!lookup || 'reason' in lookup || lookup.table.value.uses.length > 1 || !allFinite(float32Values(lookup.table.tensor))) return null;
  const table = new Int8Weight(store, lookup.table, { perChannel: true, pairSafe: false, reductionAxis: 1, keepsLayout: true });
  rewriteEmbedding(store, lookup, table);
  store.dropIfUnread(lookup.table);
  return 'table stored as int8; only the rows that are looked up are widened';
}
