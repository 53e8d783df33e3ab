/** Surgery: takes units out of a model, in place. */
import type { Model, Node } from '../../ir/index.js';
import { graphsWithin } from '../../ir/traversal.js';
import { reportName } from '../../layers/weight-store.js';
import type { NodeChange } from '../../method.js';
import { cutConstants } from './cut-constants.js';
import { removedIds } from './kept-indices.js';
import type { PruningUnit, Survivors } from './pruning-structure.js';
import { adjustNode } from './rules/node-adjusters.js';
import { keepInterface } from './state-adapters.js';
import type { AnalyzedStructure, ValueLayout } from './structure-layout.js';
import { SurgeryScope } from './surgery-scope.js';

export interface Surgery {
  readonly survivors: Survivors;
  /** A line for each layer that became smaller. */
  readonly nodes: readonly NodeChange[];
}

/**
 * Removes `units` of `structure` from `model`: the model that was analysed, or a copy of it (`cloneModel`), not changed since. Weights,
 * attributes and shape constants follow; inputs, outputs and open axes stay. Throws EngineError `recipe_invalid` when a group would be
 * empty or parts of a group would become unequal; the model is untouched then.
 */
export function removeUnits(model: Model, structure: AnalyzedStructure, units: Iterable<PruningUnit>): Surgery {
  const removed = removedIds(structure, units);
  const scope = new SurgeryScope(model, structure, removed);
  const nodes = nodeLines(structure, scope);
  // Adjusters read the constants as they were.
  for (const graph of graphsWithin(model.graph)) for (const node of [...graph.nodes]) adjustNode(node, scope);
  const survivors = cutConstants(structure, scope);
  keepInterface(structure, scope);
  for (const layout of structure.layouts) if (!layout.constant) restate(layout, scope);
  return { survivors, nodes };
}

/** Declared sizes of values inside the model. */
function restate(layout: ValueLayout, scope: SurgeryScope): void {
  const value = scope.twins.value(layout.value);
  const { type } = value;
  if (type?.kind !== 'tensor' || !type.shape || scope.isInterface(value)) return;
  const changed = new Map(scope.changedAxes(layout).map(({ axis, after }) => [axis, after] as const));
  if (changed.size > 0) value.type = { ...type, shape: type.shape.map((size, axis) => changed.get(axis) ?? size) };
}

function nodeLines({ groups }: AnalyzedStructure, scope: SurgeryScope): NodeChange[] {
  const touched = new Set<Node>();
  for (const { units, producers, consumers } of groups) {
    if (units.some(({ id }) => scope.removed.has(id))) for (const node of [...producers, ...consumers]) touched.add(node);
  }
  return [...touched].map((node) => ({
    ...({ node: reportName(node), op_type: node.opType, action: 'changed', by: 'structured-pruning' } as const),
    reason: changeOf(scope.twins.node(node), scope),
  }));
}

function changeOf(node: Node, scope: SurgeryScope): string {
  const said = (layout: ValueLayout | undefined, what: string): string[] =>
    scope.changedAxes(layout).map(({ before, after }) => `${what} ${before} -> ${after}`);
  const parts = [...said(scope.input(node, 0), 'inputs'), ...said(scope.output(node, 0), 'outputs')];
  return parts.length > 0 ? parts.join(', ') : 'fewer units inside';
}
