/** Names for new nodes and values, unique over the whole model: all graphs, subgraphs and functions. */
import type { Model } from './graph.js';
import { allGraphs, declaredValues } from './traversal.js';

export class NameAuthority {
  private readonly values = new Set<string>();
  private readonly nodes = new Set<string>();
  private readonly counters = new Map<string, number>();

  constructor(model: Model) {
    for (const graph of allGraphs(model)) {
      for (const value of declaredValues(graph)) this.values.add(value.name);
      for (const node of graph.nodes) this.nodes.add(node.name);
    }
  }

  /** `stem` itself when it is free, else `stem_1`, `stem_2`, ... The name counts as taken from now on. */
  valueName(stem: string): string {
    return this.take(stem, this.values);
  }

  nodeName(stem: string): string {
    return this.take(stem, this.nodes);
  }

  private take(stem: string, taken: Set<string>): string {
    let name = stem;
    while (taken.has(name) || name === '') {
      const count = (this.counters.get(stem) ?? 0) + 1;
      this.counters.set(stem, count);
      name = `${stem}_${count}`;
    }
    taken.add(name);
    return name;
  }
}
