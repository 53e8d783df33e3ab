/** In which order layers are repaired: together when nothing before them waits, at the end of the sums that they can settle. */
import type { Graph, Node, Value } from '../../ir/index.js';
import { dependencies } from '../../ir/traversal.js';
import { sumsBehind } from './layer-tail.js';
import type { RepairSite } from './repair-site.js';

export interface RepairTask {
  readonly site: RepairSite;
  /** Where its error is seen: its output, or the last sum behind it whose other terms are final; null for a site without an output. */
  readonly end: Value | null;
}

/** A sum may only be followed when it has the shape of the output: `hasShape` tells. */
export type SameShape = (sum: Value, output: Value) => boolean;

export class RepairSchedule {
  private readonly pending: Set<RepairSite>;

  constructor(
    private readonly graph: Graph,
    sites: Iterable<RepairSite>,
    private readonly hasShape: SameShape,
  ) {
    this.pending = new Set(sites);
  }

  /**
   * The next layers, all of whose inputs are final. One whose sum has another term that is not final yet waits for it: a shortcut is
   * fitted first, and what is left of the sum is the target of the last layer. When all wait for each other, one goes ahead.
   */
  next(): RepairTask[] {
    const waiting = new Map<Node, boolean>();
    const isFinal = (value: Value | null): boolean => !value || !this.dependsOnPending(value.producer, waiting);
    const ready = [...this.pending].filter((site) => this.isFirstOfNode(site) && [...dependencies(site.node)].every(isFinal));
    const tasks = ready.map((site) => this.taskOf(site, isFinal));
    const settled = tasks.filter(({ waits }) => !waits);
    const chosen = settled.length > 0 ? settled : tasks.slice(0, 1);
    for (const { site } of chosen) this.pending.delete(site);
    return chosen.map(({ site, end }) => ({ site, end }));
  }

  /** Sites of one node follow each other: the weights of the states see what those of the inputs make. */
  private isFirstOfNode(site: RepairSite): boolean {
    for (const other of this.pending) if (other.node === site.node) return other === site;
    return false;
  }

  private taskOf(site: RepairSite, isFinal: (value: Value | null) => boolean): RepairTask & { waits: boolean } {
    const { output } = site;
    if (!output) return { site, end: null, waits: false };
    let end = output;
    for (const { sum, other } of sumsBehind(output, this.graph)) {
      if (!this.hasShape(sum, output)) break;
      if (!isFinal(other)) return { site, end, waits: true };
      end = sum;
    }
    return { site, end, waits: false };
  }

  /** Depth-first with an explicit stack: chains of nodes must not overflow the call stack. */
  private dependsOnPending(node: Node | null, known: Map<Node, boolean>): boolean {
    if (!node) return false;
    const nodes = new Set([...this.pending].map((site) => site.node));
    const stack = [node];
    while (stack.length > 0) {
      const top = stack.at(-1);
      if (!top || known.has(top)) {
        stack.pop();
        continue;
      }
      const before = nodes.has(top) ? [] : [...dependencies(top)].flatMap(({ producer }) => (producer ? [producer] : []));
      const open = before.filter((producer) => !known.has(producer));
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      known.set(top, nodes.has(top) || before.some((producer) => known.get(producer) === true));
      stack.pop();
    }
    return known.get(node) === true;
  }
}
