/** What every criterion comes to: the order in which a group loses its units, and what each width costs. */
import type { PruningGroup } from '../structure/pruning-structure.js';
import type { ResidualBranch } from '../structure/residual-branches.js';

export interface RemovalOrder {
  readonly group: PruningGroup;
  /** Positions in `group.units`, those that go first first. A step takes one unit of each part; one of each part never goes. */
  readonly steps: readonly (readonly number[])[];
  /**
   * [steps + 1], from 0 on and never falling: what the first k steps together cost. For 'reconstruction' the relative squared error
   * of the outputs of the consumers, refitted (summed over them); for other criteria the sum of the scores that went.
   */
  readonly costs: Float64Array;
  /** Set where each step takes no units, but brings the branch into the next of its forms (residual-branches.ts). */
  readonly branch?: ResidualBranch;
}

/** A group that the criterion says nothing about, and why. */
export interface UnrankedGroup {
  readonly group: PruningGroup;
  readonly reason: string;
}

export interface GroupOrders {
  readonly orders: readonly RemovalOrder[];
  readonly unranked: readonly UnrankedGroup[];
}

/**
 * The order of rising scores, [units]. Within a part it is that of the scores; the k-th units of all parts go together, as parts
 * must stay equal. Scores are moved up so that the lowest is not negative: only their differences count.
 */
export function orderOfScores(group: PruningGroup, scores: ArrayLike<number>): RemovalOrder {
  const scoreOf = (unit: number): number => scores[unit] ?? 0;
  const parts = group.parts.map((part) => [...part].sort((a, b) => scoreOf(a) - scoreOf(b) || a - b));
  const length = Math.max(0, Math.min(...parts.map((part) => part.length)) - 1);
  const steps = Array.from({ length }, (_, step) => parts.map((part) => part[step] ?? 0));
  const lowest = Math.min(0, ...group.units.map((_, unit) => scoreOf(unit)));
  const costs = new Float64Array(length + 1);
  for (const [step, units] of steps.entries()) {
    costs[step + 1] = (costs[step] ?? 0) + units.reduce((sum, unit) => sum + scoreOf(unit) - lowest, 0);
  }
  return { group, steps, costs };
}

/** The units that the first `count` steps take, ascending positions. */
export function removedUnits({ steps }: RemovalOrder, count: number): number[] {
  return steps
    .slice(0, count)
    .flat()
    .sort((a, b) => a - b);
}
