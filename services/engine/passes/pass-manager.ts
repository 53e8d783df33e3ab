/** The pass manager: runs passes in rounds until nothing changes, with a bound, and verifies the graph after each round. */
import type { Graph, Node } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import type { ConstantEvaluator } from './constant-evaluation.js';
import type { GraphPass, Pass, PassScope } from './pass.js';

export interface PassPlan {
  readonly graphPasses: readonly GraphPass[];
  readonly passes: readonly Pass[];
}

export interface RoundOptions {
  /** Every patch keeps the model exact, so stopping at the bound leaves a correct model that could be smaller. */
  readonly roundsMax: number;
  readonly evaluator: ConstantEvaluator;
  /** Called after each round that changed something. */
  verify(): void;
  readonly signal: AbortSignal;
}

type Scope = Omit<PassScope, 'graph'>;

/** The passes by the operator that they start from, in the order of the plan. */
function byOperator(passes: readonly Pass[]): ReadonlyMap<string, readonly Pass[]> {
  const map = new Map<string, Pass[]>();
  for (const pass of passes) {
    for (const opType of pass.opTypes) map.set(opType, [...(map.get(opType) ?? []), pass]);
  }
  return map;
}

/** One visit of each node; nodes that a patch inserts are visited in the next round. */
function sweep(graph: Graph, passes: ReadonlyMap<string, readonly Pass[]>, scope: Scope): boolean {
  const passScope: PassScope = { ...scope, graph };
  let changed = false;
  for (const node of [...graph.nodes]) {
    if (node.domain === '' && applyFirst(node, passes.get(node.opType) ?? [], passScope)) changed = true;
  }
  scope.editor.sweepRemoved();
  return changed;
}

function applyFirst(node: Node, passes: readonly Pass[], scope: PassScope): boolean {
  if (node.graph !== scope.graph || scope.editor.isRemoved(node)) return false;
  for (const pass of passes) {
    const patch = pass.rewrite(node, scope);
    if (!patch) continue;
    scope.editor.apply(patch, pass.name);
    return true;
  }
  return false;
}

/** Runs rounds of the plan until a round changes nothing; returns the number of rounds that changed something. */
export async function runToFixpoint(plan: PassPlan, scope: Scope, options: RoundOptions): Promise<number> {
  const passes = byOperator(plan.passes);
  const mainGraph = scope.editor.model.graph;
  for (let round = 0; round < options.roundsMax; round += 1) {
    options.signal.throwIfAborted();
    scope.facts.refresh();
    while (await options.evaluator.evaluate()) scope.facts.refresh();
    let changed = false;
    for (const graph of graphsWithin(mainGraph)) if (sweep(graph, passes, scope)) changed = true;
    for (const pass of plan.graphPasses) {
      for (const graph of graphsWithin(mainGraph)) if (pass.run(graph, scope)) changed = true;
    }
    if (!changed) return round;
    options.verify();
  }
  return options.roundsMax;
}
