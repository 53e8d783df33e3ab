/** Carries out what was decided: every weight in its blocked form, every layer over it rewritten, the float weights gone. */
import type { Model } from '../../ir/index.js';
import { SharedConstants } from '../../layers/shared-constants.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { Int8Weight } from '../int8-weights.js';
import { rewriteEmbedding } from '../integer-rewriting.js';
import { DequantizedBlocks } from './block-dequantization.js';
import type { SharedWeight } from './block-layers.js';
import { rewriteLookup, rewriteProduct } from './block-rewriting.js';
import { BlockedConstant } from './blocked-constant.js';
import type { BlockedWeights } from './blocked-weights.js';
import type { ProductDecision } from './product-plan.js';

/** 'rows': a table in int8 with one scale per row. 'blocks': codes in blocks, with a decision for each product. */
export type WeightForm =
  | { readonly kind: 'rows' }
  | {
      readonly kind: 'blocks';
      readonly blocked: BlockedWeights;
      readonly decisions: readonly ProductDecision[];
      readonly accuracyLevel: 1 | 4;
    };

export interface Rewriting {
  readonly model: Model;
  readonly store: WeightStore;
  readonly format: 'matmul-nbits' | 'dequantize-linear';
}

/** `forms` belong to `weights` one by one. */
export function rewriteLayers(weights: readonly SharedWeight[], forms: readonly WeightForm[], rewriting: Rewriting): void {
  const shared = new SharedConstants(rewriting.store);
  for (const [index, weight] of weights.entries()) {
    const form = forms[index];
    if (form?.kind === 'rows') rewriteRows(weight, rewriting.store);
    else if (form) rewriteBlocks(weight, form, { ...rewriting, shared });
    dropFloatWeight(weight.constant, rewriting.store);
  }
}

function rewriteRows({ constant, lookups }: SharedWeight, store: WeightStore): void {
  const table = new Int8Weight(store, constant, { perChannel: true, pairSafe: false, reductionAxis: 1, keepsLayout: true });
  for (const lookup of lookups) rewriteEmbedding(store, lookup, table);
}

function rewriteBlocks(
  weight: SharedWeight,
  form: Extract<WeightForm, { kind: 'blocks' }>,
  { model, store, format, shared }: Rewriting & { readonly shared: SharedConstants },
): void {
  const { constant, axis, products, lookups } = weight;
  const { blocked: weights, decisions, accuracyLevel } = form;
  const blocked = new BlockedConstant(store, constant, weights, { axis, hasProducts: products.length > 0, opset: model.opset, shared });
  const dequantized = new DequantizedBlocks(store, constant, weights);
  for (const lookup of lookups) rewriteLookup(store, lookup, blocked);
  for (const [at, layer] of products.entries()) {
    if (decisions[at]?.form !== 'kernel') blocked.widenAtLoad();
    else if (format === 'dequantize-linear') dequantized.feed(layer);
    else rewriteProduct(store, layer, { blocked, accuracyLevel });
  }
  const usesContribOperators =
    lookups.length > 0 || (format === 'matmul-nbits' && decisions.some(({ form: chosen }) => chosen === 'kernel'));
  if (usesContribOperators && !model.opsetImports.has('com.microsoft')) model.opsetImports.set('com.microsoft', 1);
}

/** Also drops the Transpose through which a tied weight was read. */
function dropFloatWeight(constant: Constant, store: WeightStore): void {
  for (const reader of constant.value.consumers) {
    const isUnread = reader.outputs.every((output) => !output || (!output.isRead && !store.isGraphOutput(output)));
    if (reader.opType === 'Transpose' && isUnread) reader.graph?.remove([reader]);
  }
  store.dropIfUnread(constant);
}
