/** Minimum s-t cut of a small flow network (Dinic 1970): the cheapest division of things into two kinds when neighbours of different kinds cost extra. */

interface Arc {
  readonly to: number;
  capacity: number;
  readonly reverse: number;
}

export class FlowNetwork {
  private readonly arcs: Arc[] = [];
  private readonly outgoing: number[][] = [];

  /** A new vertex, by number. */
  vertex(): number {
    this.outgoing.push([]);
    return this.outgoing.length - 1;
  }

  /** `capacity` is paid when `from` is on the side of the source and `to` is not. */
  arc(from: number, to: number, capacity: number): void {
    this.add(from, { to, capacity, reverse: this.arcs.length + 1 });
    this.add(to, { to: from, capacity: 0, reverse: this.arcs.length - 1 });
  }

  private add(from: number, arc: Arc): void {
    this.outgoing[from]?.push(this.arcs.length);
    this.arcs.push(arc);
  }

  /** Vertices on the side of `source` in a cut of least capacity. Consumes the network. */
  cut(source: number, sink: number): Set<number> {
    for (let levels = this.levels(source); levels[sink] !== undefined; levels = this.levels(source)) {
      const next = new Array<number>(this.outgoing.length).fill(0);
      while (this.augment({ at: source, sink, limit: Number.POSITIVE_INFINITY }, levels, next) > 0);
    }
    const reached = this.levels(source);
    return new Set(reached.flatMap((level, vertex) => (level === undefined ? [] : [vertex])));
  }

  /** Distance of each vertex from `source` over arcs with room. */
  private levels(source: number): (number | undefined)[] {
    const levels = new Array<number | undefined>(this.outgoing.length).fill(undefined);
    levels[source] = 0;
    const queue = [source];
    for (const vertex of queue) {
      for (const index of this.outgoing[vertex] ?? []) {
        const arc = this.arcs[index];
        if (!arc || arc.capacity <= ROUNDING || levels[arc.to] !== undefined) continue;
        levels[arc.to] = (levels[vertex] ?? 0) + 1;
        queue.push(arc.to);
      }
    }
    return levels;
  }

  private augment(
    { at, sink, limit }: { at: number; sink: number; limit: number },
    levels: readonly (number | undefined)[],
    next: number[],
  ): number {
    if (at === sink) return limit;
    const outgoing = this.outgoing[at] ?? [];
    for (; (next[at] ?? 0) < outgoing.length; next[at] = (next[at] ?? 0) + 1) {
      const arc = this.arcs[outgoing[next[at] ?? 0] ?? -1];
      if (!arc || arc.capacity <= ROUNDING || levels[arc.to] !== (levels[at] ?? 0) + 1) continue;
      const flow = this.augment({ at: arc.to, sink, limit: Math.min(limit, arc.capacity) }, levels, next);
      if (flow <= 0) continue;
      arc.capacity -= flow;
      const back = this.arcs[arc.reverse];
      if (back) back.capacity += flow;
      return flow;
    }
    return 0;
  }
}

/** Capacities are times in microseconds; what floating point leaves of a used-up arc is no room. */
const ROUNDING = 1e-9;
