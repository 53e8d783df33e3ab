/** What is searched for: widths in multiples of a block, with all residual branches free, or with one of them reduced from the start. */
import type { ModelTiming } from '../timing/whole-model-timing.js';
import { removalOf } from './budget/width-problem.js';
import type { RemovalOrder } from './importance/removal-order.js';
import type { ModelTime } from './latency/model-time.js';

export interface WidthPlan {
  readonly roundTo: number;
  /** Allowed steps by order. */
  readonly ladders: readonly (readonly number[])[];
  readonly time?: ModelTime;
  /** Microseconds of a run that no layer accounts for; undefined until a run was timed. */
  readonly fixed?: number;
}

/** Forms of branches that are tried for each multiple. */
const FORMS_MAX = 4;

/**
 * The plan with one branch in one of its forms, for the forms that save most time per cost. What a branch is worth alone and what widths are
 * worth alone do not add up; so the search is not left to decide between them by the sum.
 */
export function plansWithReducedBranches({ roundTo, ladders, time }: WidthPlan, orders: readonly RemovalOrder[]): WidthPlan[] {
  if (!time) return [];
  const forms = [...orders.entries()].flatMap(([at, { branch, costs }]) =>
    (branch ? (ladders[at] ?? []) : []).flatMap((form) => {
      const alone = orders.map((_, other) => (other === at ? form : 0));
      const spared = time.source - time.at(removalOf(orders, alone));
      return form > 0 && spared > 0 ? [{ at, form, price: (costs[form] ?? 0) / spared }] : [];
    }),
  );
  const promising = forms.sort((a, b) => a.price - b.price).slice(0, FORMS_MAX);
  return promising.map(({ at, form }) => ({ roundTo, time, ladders: ladders.map((ladder, other) => (other === at ? [form] : ladder)) }));
}

const MICROSECONDS = 1000;

/** The times of layers leave out what every run takes: once it is known, it counts on both sides. Undefined where there is nothing to learn. */
export function withFixedTime(plan: WidthPlan, timing: ModelTiming | undefined): (WidthPlan & { readonly fixed: number }) | undefined {
  if (plan.fixed !== undefined || !plan.time || !timing) return undefined;
  return { ...plan, fixed: Math.max(0, timing.before * MICROSECONDS - plan.time.source) };
}
