/** One pass over the samples: layers whose inputs are final learn, by least squares, to give what the original gave. */
import type { Model, Value } from '../../ir/index.js';
import { portions } from '../../layers/portions.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, RunSource } from '../../method.js';
import { type FitLayer, fitSums, type SplitSums } from '../../normal-equations/fit-sums.js';
import { groupsOf, rowSignature } from '../../normal-equations/layer-rows.js';
import { NormalEquations, type RidgeFit, type WeightChange } from '../../normal-equations/least-squares.js';
import { chooseRidge, meanShift } from '../../normal-equations/ridge-choice.js';
import { type VisibleRange, visibleRange } from './layer-tail.js';
import { pairModels } from './paired-probe.js';
import type { RepairTask } from './repair-schedule.js';
import type { RepairSite } from './repair-site.js';
import { remainingError } from './visible-error.js';

export interface PassRequest {
  readonly original: Model;
  readonly pruned: Model;
  readonly tasks: readonly RepairTask[];
  readonly samples: RunSource;
  /** Rows of one sample by site. */
  readonly rowsOf: ReadonlyMap<RepairSite, number>;
}

/** 'refitted': all weights; 'compensated': the bias alone; 'kept': there is no bias that could change. */
export type Repair =
  | { readonly kind: 'refitted'; readonly ridge: number }
  | { readonly kind: 'compensated' | 'kept'; readonly why: string };

/** Further passes for layers before activations that hide errors. */
const VISIBLE_PASSES = 3;
/** Each step of a majorization goes on by as much again, short of the double, where it would no longer fall. */
const OVERSHOOT = 1.7;
/** Elements of the Gram matrices of one pass. */
const GRAM_ELEMENTS_MAX = 2 ** 24;

/** Changes the weights of `pruned`. */
export async function fitPass(request: PassRequest, context: MethodContext): Promise<Map<RepairSite, Repair>> {
  const repairs = new Map<RepairSite, Repair>();
  for (const tasks of portions(request.tasks, GRAM_ELEMENTS_MAX, gramElements)) await fitTogether({ ...request, tasks }, context, repairs);
  return repairs;
}

/**
 * First the linear fit. Where an activation is flat, then, a few steps on the error that it lets through,
 *   f(p) = |relu(p) - relu(t)|^2 <= |p - t'|^2,  t' = p where p and t are hidden, 0 where only t is, t elsewhere
 * (majorization: the normal matrix stays, only X^T E is summed anew).
 */
async function fitTogether(request: PassRequest, context: MethodContext, repairs: Map<RepairSite, Repair>): Promise<void> {
  const store = new WeightStore(request.pruned);
  const rangeOf = ({ end }: RepairTask): VisibleRange | null => (end ? visibleRange(end, request.pruned.graph, store) : null);
  const sums = await fitSums({ ...fitRequest(request, context, () => null), withGram: true });
  const fits = new Map<RepairSite, RidgeFit>();
  for (const [at, { site }] of request.tasks.entries()) {
    const split = sums.get(String(at));
    if (!split || split.all.rows === 0) continue;
    const { repair, fit } = linearFit(site, split);
    if (fit) fits.set(site, fit);
    repairs.set(site, repair);
  }
  const hidden = request.tasks.filter((task) => fits.has(task.site) && rangeOf(task));
  for (let pass = 0; pass < VISIBLE_PASSES && hidden.length > 0 && request.pruned.opset >= WHERE_OPSET; pass += 1) {
    const visible = await fitSums({ ...fitRequest({ ...request, tasks: hidden }, context, rangeOf), withGram: false });
    for (const [at, { site }] of hidden.entries()) {
      const split = visible.get(String(at));
      const change = split && fits.get(site)?.solve(split.all);
      if (!change || !hasOnlyNumbers(change)) continue;
      const further = (value: number): number => OVERSHOOT * value;
      site.change({ weights: change.weights.map(further), bias: change.bias.map(further) });
    }
  }
}

const WHERE_OPSET = 9;

const NOT_FINITE = 'sums over what it sees or should compute are not finite';
const DISAGREEING = 'rows that were held out agree with no other weights';

/** Changes the weights of the site, or its bias, or nothing when the sums say nothing. */
function linearFit(site: RepairSite, split: SplitSums): { readonly repair: Repair; readonly fit?: RidgeFit } {
  const { hasBias, obstacle } = site;
  const ridge = obstacle === undefined ? chooseRidge(split, hasBias) : null;
  const fit = ridge === null ? null : new NormalEquations(split.all, hasBias).fit(ridge);
  const change = fit?.solve(split.all) ?? meanShift(split.all, hasBias);
  const isKnown = ridge === null || fit !== null;
  if (!isKnown || !hasOnlyNumbers(change) || !split.all.squares.every(Number.isFinite))
    return { repair: { kind: 'kept', why: NOT_FINITE } };
  site.change(change);
  if (ridge !== null && fit) return { repair: { kind: 'refitted', ridge }, fit };
  return { repair: { kind: hasBias ? 'compensated' : 'kept', why: obstacle ?? DISAGREEING } };
}

function hasOnlyNumbers({ weights, bias }: WeightChange): boolean {
  return weights.every(Number.isFinite) && bias.every(Number.isFinite);
}

function fitRequest(
  { original, pruned, tasks, samples, rowsOf }: PassRequest,
  context: MethodContext,
  rangeOf: (task: RepairTask) => VisibleRange | null,
): Omit<Parameters<typeof fitSums>[0], 'withGram'> {
  const pair = pairModels(pruned, original);
  const layers = tasks.map((task, at): FitLayer => {
    const { site, end } = task;
    const error = (probe: Parameters<FitLayer['error']>[0]): Value => remainingError(probe, site.sides(probe, pair, end), rangeOf(task));
    return { ...site.rows, key: String(at), outputs: site.outputs, error };
  });
  const rowsPerSample = new Map(tasks.flatMap(({ site }) => known(rowsOf, site)));
  return { model: pair.model, layers, samples, context, rowsPerSample };
}

function known(rowsOf: ReadonlyMap<RepairSite, number>, site: RepairSite): [string, number][] {
  const rows = rowsOf.get(site);
  return rows === undefined ? [] : [[rowSignature(site.rows), rows]];
}

function gramElements({ site: { rows } }: RepairTask): number {
  return groupsOf(rows) * rows.depth ** 2;
}
