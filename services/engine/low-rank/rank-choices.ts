/** From offers to one choice for each layer: by measured time where that decides, under the budget where there is one. */
import type { MethodContext } from '../method.js';
import { runsOnTarget } from '../timing/target-machine.js';
import type { BudgetedModel } from './budget-figure.js';
import { type Budget, measuredChoice, plannedChoice } from './budgeted-choice.js';
import type { Candidate } from './candidates.js';
import { type MeasuredForms, measureForms } from './measured-forms.js';

export interface RankChoices extends MeasuredForms {
  /** Why nothing was timed, as a clause for the report; null when it was. */
  readonly untimed: string | null;
}

/** Throws EngineError `recipe_invalid` when no ranks keep the budget. */
export async function chooseRanks(request: BudgetedModel, budget: Budget | null, context: MethodContext): Promise<RankChoices> {
  const untimed = reasonNotToTime(context);
  if (!untimed) {
    const measured = await measuredRanks(request, budget, context);
    if (measured) return { ...measured, untimed: null };
  }
  const chosen = budget
    ? plannedChoice(request, budget)
    : new Map([...alternatives(request)].flatMap(([name, [first]]) => (first ? [[name, first] as const] : [])));
  return { chosen, times: new Map(), slower: new Map(), untimed: untimed ?? 'not timed (no inputs are known that the model runs with)' };
}

function reasonNotToTime(context: MethodContext): string | null {
  if (context.objective === 'size') return 'not timed (objective: size)';
  return runsOnTarget(context) ? null : `not timed (this machine is ${process.arch})`;
}

async function measuredRanks(request: BudgetedModel, budget: Budget | null, context: MethodContext): Promise<MeasuredForms | null> {
  if (budget) return measuredChoice(request, budget, context);
  const offered = alternatives(request);
  if (offered.size === 0) return { chosen: new Map(), times: new Map(), slower: new Map() };
  return measureForms(request.model, offered, context);
}

/** What each layer offers, the fewest multiply-accumulates first; layers that offer nothing are missing. */
function alternatives({ offers }: BudgetedModel): ReadonlyMap<string, readonly Candidate[]> {
  const bySize = (a: Candidate, b: Candidate): number => a.cost.macs - b.cost.macs || a.cost.parameters - b.cost.parameters;
  return new Map(
    [...offers].flatMap(([name, { candidates }]) => (candidates.length > 0 ? [[name, [...candidates].sort(bySize)] as const] : [])),
  );
}
