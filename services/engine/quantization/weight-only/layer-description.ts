/** What the report says of each layer over a blocked weight. */
import { elementCount, type Node } from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import { reportName } from '../../layers/weight-store.js';
import type { LayerReport, NodeChange } from '../../method.js';
import type { SharedWeight } from './block-layers.js';
import type { BlockedWeights } from './blocked-weights.js';
import { packedByteLength } from './code-packing.js';
import type { WeightForm } from './layer-rewriting.js';
import type { ProductDecision } from './product-plan.js';
import type { FittedWeight } from './weight-fitting.js';

export interface WeightDescription {
  readonly nodes: readonly NodeChange[];
  readonly layers: readonly LayerReport[];
}

interface Described {
  readonly form: WeightForm;
  readonly fitted: FittedWeight | undefined;
  readonly by: string;
  /** Where the input of a product was divided by AWQ, by the name of the product. */
  readonly scaled: ReadonlyMap<string, string>;
}

/** Lines for the readers of a weight. Its bytes stand with the first of them, so that a sum over layers is right. */
export function describeWeights(weight: SharedWeight, described: Described): WeightDescription {
  const { form, fitted, by, scaled } = described;
  const readers = [...weight.lookups, ...weight.products];
  const first = readers[0]?.node;
  const bytes = { bytes_before: 4 * elementCount(weight.constant.tensor.dims), bytes_after: bytesOf(weight, form) };
  const nodes: NodeChange[] = [];
  const layers: LayerReport[] = [];
  const add = (node: Node, text: { form: string; reason: string }, more: Partial<LayerReport> = {}): void => {
    nodes.push({ node: reportName(node), op_type: node.opType, action: 'changed', by, reason: text.reason });
    layers.push({ node: reportName(node), op_type: node.opType, form: text.form, ...(node === first ? bytes : {}), ...more });
  };
  for (const { node } of weight.lookups) add(node, describeLookup(form, fitted));
  if (form.kind === 'rows') return { nodes, layers };
  for (const [at, layer] of weight.products.entries()) {
    const decision = form.decisions[at] ?? { form: 'widened', ground: '' };
    const place = scaled.get(reportName(layer.node));
    const scaling = place ? `, its input scaled in ${place}` : '';
    add(layer.node, describeProduct(form.blocked, decision, quality(fitted) + scaling), measured(at, decision, fitted));
    if (decision.form === 'kernel' && layer.bias?.add) nodes.push(absorbedBias(layer, by));
  }
  return { nodes, layers };
}

function bytesOf({ constant }: SharedWeight, form: WeightForm): number {
  if (form.kind === 'blocks') return packedByteLength(form.blocked);
  const { dims } = constant.tensor;
  return elementCount(dims) + 4 * (dims[0] ?? 0);
}

function formName({ bits, blockSize }: BlockedWeights): string {
  return `${bits} bit block ${blockSize}`;
}

function quality(fitted: FittedWeight | undefined): string {
  return fitted ? ` by ${fitted.algorithm}, weights ${fitted.weightSqnr.toFixed(1)} dB` : '';
}

function describeLookup(form: WeightForm, fitted: FittedWeight | undefined): { form: string; reason: string } {
  if (form.kind === 'rows')
    return { form: 'int8 per row', reason: 'table stored as int8 with a scale per row; only the rows that are looked up are widened' };
  const name = formName(form.blocked);
  return { form: name, reason: `table stored in ${name}${quality(fitted)}; only the rows that are looked up are widened` };
}

function describeProduct(blocked: BlockedWeights, decision: ProductDecision, how: string): { form: string; reason: string } {
  const name = formName(blocked);
  const ground = decision.ground === '' ? '' : `: ${decision.ground}`;
  if (decision.form === 'kernel') return { form: name, reason: `weight in ${name}${how}, multiplied as it is${ground}` };
  return { form: `${name} stored`, reason: `weight in ${name}${how}, widened to float32 when the model is loaded${ground}` };
}

function measured(at: number, { form, ground, timing }: ProductDecision, fitted: FittedWeight | undefined): Partial<LayerReport> {
  return {
    ...(timing ? { time_before_us: timing.before, time_after_us: timing.after } : {}),
    ...(at === 0 && fitted?.outputSqnr !== undefined ? { sqnr_local_db: fitted.outputSqnr } : {}),
    ...(form === 'kernel' ? { fused: true } : { fused: false, unfused_reason: ground }),
  };
}

function absorbedBias({ node, bias }: DenseLayer, by: string): NodeChange {
  const add = bias?.add;
  if (!add) throw new Error(`${reportName(node)} has no Add behind it`);
  return {
    node: reportName(add),
    op_type: add.opType,
    action: 'removed',
    by,
    reason: `its bias is now added inside the product ${reportName(node)}`,
  };
}
