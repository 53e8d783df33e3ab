/** Widths as positions on the ladders of groups, and the moves between them. */
import { WidthCosts } from './width-costs.js';
import { removalOf, type WidthProblem } from './width-problem.js';

/** Rungs ahead that one step is chosen from: a cost may jump and what is saved come only behind the jump. */
const LOOKAHEAD = 4;

export interface Move {
  readonly order: number;
  readonly rung: number;
}

/** What positions cost and save. */
export class Rungs {
  readonly at: number[];
  private readonly costs: WidthCosts;

  /** `steps`: allowed ones to begin with; default none. */
  constructor(
    private readonly problem: WidthProblem,
    steps: readonly number[] = [],
  ) {
    this.at = problem.ladders.map((ladder, order) => Math.max(0, ladder.indexOf(steps[order] ?? 0)));
    this.costs = new WidthCosts(problem.orders);
  }

  get totalCost(): number {
    return this.costs.of(this.steps());
  }

  /** Whether what a removal is worth is another figure than the budget's. */
  get savesOtherwise(): boolean {
    return this.problem.saved !== undefined;
  }

  steps(at: readonly number[] = this.at): number[] {
    return at.map((rung, order) => this.problem.ladders[order]?.[rung] ?? 0);
  }

  kept(at: readonly number[] = this.at): number {
    return this.problem.kept(this.removal(at));
  }

  saved(at: readonly number[] = this.at): number {
    return this.problem.saved?.(this.removal(at)) ?? 1 - this.kept(at);
  }

  /** What moving groups to other rungs adds to the cost. */
  added(...moves: readonly Move[]): number {
    return this.costs.of(this.steps(this.with(...moves))) - this.totalCost;
  }

  /** To the rungs that follow, as far as is looked ahead. */
  *movesDown(): Generator<Move> {
    for (const [order, ladder] of this.problem.ladders.entries()) {
      const rung = this.at[order] ?? 0;
      for (let next = rung + 1; next < Math.min(ladder.length, rung + 1 + LOOKAHEAD); next += 1) yield { order, rung: next };
    }
  }

  *movesUp(): Generator<Move> {
    for (const [order, rung] of this.at.entries()) if (rung > 0) yield { order, rung: rung - 1 };
  }

  /** To the rungs on both sides, as far as is looked ahead. */
  *movesAround(): Generator<Move> {
    for (const [order, ladder] of this.problem.ladders.entries()) {
      const rung = this.at[order] ?? 0;
      const last = Math.min(ladder.length - 1, rung + LOOKAHEAD);
      for (let next = Math.max(0, rung - LOOKAHEAD); next <= last; next += 1) if (next !== rung) yield { order, rung: next };
    }
  }

  with(...moves: readonly Move[]): number[] {
    const moved = [...this.at];
    for (const { order, rung } of moves) moved[order] = rung;
    return moved;
  }

  make(...moves: readonly Move[]): void {
    for (const { order, rung } of moves) this.at[order] = rung;
  }

  private removal(at: readonly number[]): number[] {
    return removalOf(this.problem.orders, this.steps(at));
  }
}
