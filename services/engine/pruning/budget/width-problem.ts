/** Which widths are to be chosen, and by what. */
import type { Ranking } from '../importance/options.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import type { Removal } from './value-sizes.js';

export interface WidthProblem {
  readonly orders: readonly RemovalOrder[];
  /** Allowed steps by order, ascending; the first is where the search begins. */
  readonly ladders: readonly (readonly number[])[];
  readonly ranking: Ranking;
  /** The budgeted figure as a fraction of that of the source; falls as more is removed. */
  kept(removed: Removal): number;
  /** The largest fraction that keeps the budget. */
  readonly limit: number;
  /** What a removal is worth: by default what it takes off the budgeted figure. */
  saved?(removed: Removal): number;
}

/** Units gone by group, for steps by order: a step takes one unit of each part. */
export function removalOf(orders: readonly RemovalOrder[], steps: readonly number[]): number[] {
  return orders.map(({ group }, at) => (steps[at] ?? 0) * Math.max(1, group.parts.length));
}
