/** Small constants that many layers of a graph read, declared once in it. */
import { type Graph, int64Tensor, type Tensor, type Value } from '../ir/index.js';
import type { WeightStore } from './weight-store.js';

export class SharedConstants {
  private readonly known = new Map<Graph, Map<string, Value>>();

  constructor(private readonly store: WeightStore) {}

  /** The constant `key` of `graph`, called `name`: made when it is asked for the first time. */
  once(graph: Graph, { key, name }: { key: string; name: string }, make: () => Tensor): Value {
    const inGraph = this.known.get(graph) ?? new Map<string, Value>();
    this.known.set(graph, inGraph);
    const value = inGraph.get(key) ?? this.store.declare(graph, name, make()).value;
    inGraph.set(key, value);
    return value;
  }

  /** Sizes, axes or bounds. */
  integers(graph: Graph, values: readonly number[]): Value {
    return this.once(graph, { key: values.join(), name: 'sizes' }, () => int64Tensor([values.length], values));
  }
}
