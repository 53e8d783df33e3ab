/** Which value of a teacher a value of its student follows, where nobody names them. */
import type { Graph } from '../ir/index.js';
import { layerEnds, trunkOf } from '../layers/trunk.js';

export interface LayerPair {
  readonly student: string;
  readonly teacher: string;
}

export interface MappedNetwork {
  /** Nodes sorted. */
  readonly graph: Graph;
  /** Sizes of its values for one batch, the same for both networks. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

interface Candidate {
  readonly name: string;
  readonly depth: number;
  readonly dims: readonly number[];
}

/** Tells whether a loss can compare values of these sizes. */
export type Comparable = (student: readonly number[], teacher: readonly number[]) => boolean;

/**
 * As many pairs as there can be of values that all paths pass through (`trunkOf`), in the order of both networks, and among those the
 * pairs whose relative depths differ least in sum: the alignment of Needleman and Wunsch 1970. The outputs are left out.
 */
export function mapLayers(student: MappedNetwork, teacher: MappedNetwork, comparable: Comparable): LayerPair[] {
  const [left, right] = [candidates(student), candidates(teacher)];
  /** best[i][j]: of the first i values of the student and the first j of the teacher. */
  const best: Alignment[][] = [Array.from({ length: right.length + 1 }, () => nothing)];
  for (const own of left) {
    const above = best.at(-1) ?? [];
    const row: Alignment[] = [nothing];
    for (const [at, other] of right.entries()) {
      const skipped = better(above[at + 1] ?? nothing, row[at] ?? nothing);
      row.push(comparable(own.dims, other.dims) ? better(skipped, extended(above[at] ?? nothing, own, other)) : skipped);
    }
    best.push(row);
  }
  return pairsOf(best.at(-1)?.at(-1) ?? nothing);
}

interface Alignment {
  readonly count: number;
  /** Sum of |depth - depth|. */
  readonly cost: number;
  readonly last?: { readonly pair: LayerPair; readonly before: Alignment };
}

const nothing: Alignment = { count: 0, cost: 0 };

function extended(before: Alignment, student: Candidate, teacher: Candidate): Alignment {
  const cost = before.cost + Math.abs(student.depth - teacher.depth);
  return { count: before.count + 1, cost, last: { pair: { student: student.name, teacher: teacher.name }, before } };
}

/** The first where both are as good. */
function better(a: Alignment, b: Alignment): Alignment {
  return b.count > a.count || (b.count === a.count && b.cost < a.cost) ? b : a;
}

function pairsOf(alignment: Alignment): LayerPair[] {
  const pairs: LayerPair[] = [];
  for (let { last } = alignment; last; last = last.before.last) pairs.push(last.pair);
  return pairs.reverse();
}

function candidates({ graph, shapes }: MappedNetwork): Candidate[] {
  return layerEnds(trunkOf(graph), shapes)
    .filter(({ value }) => !graph.isOutput(value))
    .map(({ value, depth }) => ({ name: value.name, depth, dims: shapes.get(value.name) ?? [] }));
}
