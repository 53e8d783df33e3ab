/** In which order layers are repaired: together when nothing before them waits, the last one of a sum at the end of the sum. */
import type { Graph, Node, Value } from '../../ir/index.js';
import { dependencies } from '../../ir/traversal.js';
import { levelsOf } from '../../layers/layer-passes.js';
import { sumsBehind } from './layer-tail.js';
import type { RepairSite } from './repair-site.js';

export interface RepairTask {
  readonly site: RepairSite;
  /** Where its error is seen: its output, or the last sum behind it whose other terms are final; null for a site without an output. */
  readonly end: Value | null;
}

/** A sum may only be followed when it has the shape of the output: `hasShape` tells. */
export type SameShape = (sum: Value, output: Value) => boolean;

/** Rank of a value that no pending layer comes before. */
const FINAL = -1;

export class RepairSchedule {
  private readonly pending: Set<RepairSite>;
  /** Sites by the number of sites on the longest way to them, then as in the graph. */
  private readonly ranks: ReadonlyMap<Node, number>;

  constructor(
    private readonly graph: Graph,
    sites: Iterable<RepairSite>,
    private readonly hasShape: SameShape,
  ) {
    this.pending = new Set(sites);
    this.ranks = ranksOf(graph, new Set([...this.pending].map(({ node }) => node)));
  }

  /**
   * The next layers, all of whose inputs are final; empty when all were taken. Of the layers whose outputs are added up, the last one
   * waits for the others and makes good what they leave of the sum: shortcuts are fitted first, to their own outputs.
   */
  next(): RepairTask[] {
    const latest = this.latestPending();
    const isReady = (site: RepairSite): boolean =>
      this.firstOf(site.node) === site && [...dependencies(site.node)].every((value) => latest(value) === FINAL);
    const tasks = [...this.pending].filter(isReady).flatMap((site) => this.taskOf(site, latest));
    for (const { site } of tasks) this.pending.delete(site);
    return tasks;
  }

  /** Sites of one node follow each other: the weights of the states see what those of the inputs make. */
  private firstOf(node: Node): RepairSite | undefined {
    for (const site of this.pending) if (site.node === node) return site;
    return undefined;
  }

  /** None while the site waits. */
  private taskOf(site: RepairSite, latest: (value: Value | null) => number): RepairTask[] {
    const { output, node } = site;
    if (!output) return [{ site, end: null }];
    let end = output;
    for (const { sum, other } of sumsBehind(output, this.graph)) {
      if (!this.hasShape(sum, output)) break;
      const rank = latest(other);
      if (rank > (this.ranks.get(node) ?? 0)) break;
      if (rank !== FINAL) return [];
      end = sum;
    }
    return [{ site, end }];
  }

  /** The highest rank of the pending layers that a value depends on, FINAL without any. */
  private latestPending(): (value: Value | null) => number {
    const nodes = new Set([...this.pending].map(({ node }) => node));
    const known = new Map<Node, number>();
    for (const node of this.graph.nodes) {
      const before = [...dependencies(node)].map(({ producer }) => (producer ? (known.get(producer) ?? FINAL) : FINAL));
      known.set(node, nodes.has(node) ? (this.ranks.get(node) ?? 0) : Math.max(FINAL, ...before));
    }
    return (value) => (value?.producer ? (known.get(value.producer) ?? FINAL) : FINAL);
  }
}

function ranksOf(graph: Graph, sites: ReadonlySet<Node>): Map<Node, number> {
  const levels = levelsOf(graph, sites);
  const ordered = graph.nodes.filter((node) => sites.has(node)).sort((a, b) => (levels.get(a) ?? 0) - (levels.get(b) ?? 0));
  return new Map(ordered.map((node, rank) => [node, rank] as const));
}
