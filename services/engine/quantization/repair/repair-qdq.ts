/** Repairs a quantized model of any tool, rule by rule, and keeps only what is proved to compute the same. */
import { EngineError } from '../../engine-errors.js';
import { cloneModel, type Model } from '../../ir/index.js';
import { reportName } from '../../layers/weight-store.js';
import type { MethodContext, MethodOutcome, NodeChange } from '../../method.js';
import { saturationReport } from '../saturation-report.js';
import { removeUnread } from './dead-conversions.js';
import { diagnoseModel } from './diagnose-model.js';
import { type Diagnosis, type Finding, type FindingKind, findingKinds, type Repair, type ReplacedInput } from './finding.js';
import type { RepairQdqOptions } from './options.js';
import { prove, type Verdict } from './proof.js';
import { QuantizedGraph } from './quantized-graph.js';
import { rules } from './rules.js';

const METHOD = 'repair-qdq';

/** One repair may make room for another (a new range needs new biases); each round ends with fewer findings or is the last. */
const ROUNDS_MAX = 3;

type Repairable = Diagnosis & { readonly repair: Repair };

interface Work {
  readonly model: Model;
  readonly context: MethodContext;
  readonly only: ReadonlySet<FindingKind> | null;
  readonly changes: NodeChange[];
  readonly warnings: string[];
  /** "kind node" of repairs that did not hold. */
  readonly refused: Set<string>;
}

/** Edits `model` in place. Needs samples to prove the repairs on; throws EngineError `recipe_invalid` for an unknown kind. */
export async function repairQdq(model: Model, options: RepairQdqOptions, context: MethodContext): Promise<MethodOutcome> {
  const work: Work = { model, context, only: kindsOf(options), changes: [], warnings: [], refused: new Set() };
  if (!context.calibration) throw new EngineError('dataset_invalid', 'Repairs are proved on samples: give calibration data.');
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    let repaired = 0;
    for (const [at, kind] of repairOrder.entries()) {
      context.signal.throwIfAborted();
      context.progress((round + at / repairOrder.length) / ROUNDS_MAX, `repairing: ${kind}`);
      repaired += await repairKind(kind, work);
    }
    if (repaired === 0) break;
  }
  context.progress(1, 'repaired');
  warnOfSaturation(work);
  return { nodes: [...work.changes, ...leftAlone(work)], warnings: work.warnings };
}

/** The order of the table of rules: weights, then activations, then biases, which depend on both. */
const repairOrder = Object.keys(rules) as readonly FindingKind[];

function kindsOf({ only }: RepairQdqOptions): ReadonlySet<FindingKind> | null {
  if (!only) return null;
  const known: ReadonlySet<string> = new Set(findingKinds);
  const unknown = only.find((kind) => !known.has(kind));
  if (unknown !== undefined) {
    throw new EngineError('recipe_invalid', `repair-qdq knows no kind "${unknown}"; the kinds are ${findingKinds.join(', ')}.`);
  }
  return new Set(findingKinds.filter((kind) => only.includes(kind)));
}

function wanted(kind: FindingKind, { model, only, refused }: Work): Repairable[] {
  if (only && !only.has(kind)) return [];
  return rules[kind].examine(new QuantizedGraph(model)).filter((each): each is Repairable => {
    if (!each.repair || refused.has(`${kind} ${reportName(each.node)}`)) return false;
    return each.repairable === 'exact' || (each.repairable === 'on-request' && only !== null);
  });
}

/** All findings of the kind at once; one by one when that does not hold. Returns how many repairs were kept. */
async function repairKind(kind: FindingKind, work: Work): Promise<number> {
  const found = wanted(kind, work);
  if (found.length === 0) return 0;
  if ((await attempt(kind, found, work)).holds) return found.length;
  let kept = 0;
  for (let next = wanted(kind, work)[0]; next; next = wanted(kind, work)[0]) {
    const node = reportName(next.node);
    const opType = next.node.opType;
    const verdict = await attempt(kind, [next], work);
    if (verdict.holds) {
      kept += 1;
      // A kind that comes back for the same node would be repaired for ever.
      if (wanted(kind, work).some((again) => reportName(again.node) === node)) work.refused.add(`${kind} ${node}`);
      continue;
    }
    work.refused.add(`${kind} ${node}`);
    work.changes.push({
      node,
      op_type: opType,
      action: 'left',
      by: METHOD,
      reason: `${kind}: the repair did not hold and was undone: ${verdict.reason}.`,
    });
    work.warnings.push(`repair-qdq: ${kind} of "${node}" was undone: ${verdict.reason}.`);
  }
  return kept;
}

async function attempt(kind: FindingKind, found: readonly Repairable[], work: Work): Promise<Verdict> {
  const { model, context } = work;
  const before = cloneModel(model);
  const names = found.map(({ node }) => ({ node: reportName(node), op_type: node.opType }));
  const replaced: ReplacedInput[] = found.flatMap(({ repair }) => repair.apply());
  const proof = found[0]?.repair.proof ?? 'equal';
  const verdict = await prove({ before, after: model, proof, replaced }, context);
  if (!verdict.holds) {
    restore(model, before);
    return verdict;
  }
  removeUnread(model);
  for (const [at, each] of found.entries()) {
    const { node = '', op_type = '' } = names[at] ?? {};
    work.changes.push({ node, op_type, action: 'changed', by: METHOD, reason: `${kind}: ${each.instead} ${described(verdict, proof)}` });
  }
  return verdict;
}

function described({ difference, samples }: Verdict & { holds: true }, proof: Repair['proof']): string {
  const on = `on ${samples} sample${samples === 1 ? '' : 's'}`;
  if (proof === 'equal') return `Every output is equal bit for bit ${on}.`;
  if (proof === 'measured') return `The outputs differ by up to ${difference} ${on}.`;
  return `At most one step of its output; the model's outputs differ by up to ${difference} ${on}.`;
}

function restore(model: Model, before: Model): void {
  model.graph = before.graph;
  model.irVersion = before.irVersion;
}

/**
 * A node that comes back from float to codes computes the same, except on x64 without VNNI where its pairs of products saturate:
 * resnet_2b of the reference tool is off by 0 in float and by 0.6 (in logits) when it fuses there.
 */
function warnOfSaturation({ model, context, changes, warnings }: Work): void {
  const { products } = saturationReport(model);
  const count = products.filter(({ saturates }) => saturates).length;
  if (context.target !== 'x64' || count === 0 || !changes.some(({ action }) => action === 'changed')) return;
  warnings.push(
    `repair-qdq: ${count} of ${products.length} products can saturate on x64 without VNNI, where the fused answer then differs from that of the file. Name "saturation" among the kinds to repair, too.`,
  );
}

/** What is still to be said of the repaired model. */
function leftAlone({ model, refused }: Work): NodeChange[] {
  return diagnoseModel(model)
    .filter(({ kind, node, effect }) => effect !== 'harmless' && !refused.has(`${kind} ${node}`))
    .map((finding: Finding) => ({
      ...{ node: finding.node, op_type: finding.op_type, action: 'left', by: METHOD },
      reason: `${finding.kind}: ${finding.sentence} ${finding.instead}`,
    }));
}
