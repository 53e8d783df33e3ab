/** Surgery: takes units out of a model, in place. */
import type { Model, Node, Value } from '../../ir/index.js';
import { graphsWithin } from '../../ir/traversal.js';
import { reportName } from '../../layers/weight-store.js';
import type { NodeChange } from '../../method.js';
import { keptElements } from './kept-elements.js';
import { keptRows, removedIds } from './kept-indices.js';
import type { PruningUnit, Survivors } from './pruning-structure.js';
import { adjustNode } from './rules/node-adjusters.js';
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
  const survivors = new Map<string, Map<number, readonly number[]>>();
  // Adjusters read the constants as they were.
  for (const graph of graphsWithin(model.graph)) for (const node of graph.nodes) adjustNode(node, scope);
  for (const layout of structure.layouts) {
    if (layout.constant) cut(layout, scope, survivors);
    else restate(layout, scope);
  }
  return { survivors, nodes };
}

/** Cuts one constant, or one reader's copy of it. */
function cut(layout: ValueLayout, scope: SurgeryScope, survivors: Map<string, Map<number, readonly number[]>>): void {
  const { constant, tracks, use } = layout;
  const value = scope.twins.value(layout.value);
  const known = scope.store.constant(value);
  if (!constant || !known) return;
  const tensor = keptElements(constant, tracks, scope.removed);
  if (tensor === constant) return;
  const holder: Value = use ? scope.setConstant(scope.twins.node(use.node), use.index, tensor) : scope.replace(known, tensor).value;
  const axes = new Map<number, readonly number[]>();
  for (const track of tracks) axes.set(track.axis, keptRows(track, scope.removed).flat());
  survivors.set(holder.name, axes);
}

/** Declared sizes of values inside the model. */
function restate(layout: ValueLayout, scope: SurgeryScope): void {
  const value = scope.twins.value(layout.value);
  const { type } = value;
  if (type?.kind !== 'tensor' || !type.shape) return;
  const changed = new Map(scope.changedAxes(value).map(({ axis, after }) => [axis, after] as const));
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
  const said = (values: readonly (Value | null)[], what: string): string[] => {
    const axes = values.slice(0, 1).flatMap((value) => scope.changedAxes(value));
    return axes.map(({ before, after }) => `${what} ${before} -> ${after}`);
  };
  const parts = [...said(node.inputs, 'inputs'), ...said(node.outputs, 'outputs')];
  return parts.length > 0 ? parts.join(', ') : 'fewer units inside';
}
