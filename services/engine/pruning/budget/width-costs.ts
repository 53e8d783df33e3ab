/** What widths cost together: inside a branch that is not whole any more nothing else is lost. */
import type { RemovalOrder } from '../importance/removal-order.js';

export class WidthCosts {
  /** By order, the positions of the branches that its layers lie in. */
  private readonly around: readonly (readonly number[])[];

  constructor(private readonly orders: readonly RemovalOrder[]) {
    const branches = orders.flatMap(({ branch }, at) => (branch ? [{ at, nodes: new Set(branch.nodes) }] : []));
    this.around = orders.map(({ group, branch }) => {
      const own = branch ? [branch.sum] : [...group.producers, ...group.consumers];
      return branches.filter(({ nodes }) => own.length > 0 && own.every((node) => nodes.has(node))).map(({ at }) => at);
    });
  }

  /** Of steps by order. */
  of(steps: readonly number[]): number {
    return this.orders.reduce((sum, { costs }, at) => sum + (this.isGone(at, steps) ? 0 : (costs[steps[at] ?? 0] ?? 0)), 0);
  }

  /** Whether a branch around the units of an order has gone, or been replaced. */
  isGone(order: number, steps: readonly number[]): boolean {
    return (this.around[order] ?? []).some((branch) => (steps[branch] ?? 0) > 0);
  }
}
