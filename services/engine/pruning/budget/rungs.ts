/** Widths as positions on the ladders of groups, and the moves between them. */
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

  /** `steps`: allowed ones to begin with; default none. */
  constructor(
    private readonly problem: WidthProblem,
    steps: readonly number[] = [],
  ) {
    this.at = problem.ladders.map((ladder, order) => Math.max(0, ladder.indexOf(steps[order] ?? 0)));
  }

  get totalCost(): number {
    return this.at.reduce((sum, rung, order) => sum + this.cost(order, rung), 0);
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

  cost(order: number, rung: number): number {
    return this.problem.orders[order]?.costs[this.problem.ladders[order]?.[rung] ?? 0] ?? 0;
  }

  /** What moving one group to another rung adds to the cost. */
  added({ order, rung }: Move): number {
    return this.cost(order, rung) - this.cost(order, this.at[order] ?? 0);
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
