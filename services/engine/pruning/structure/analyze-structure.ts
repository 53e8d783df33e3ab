/** Dependency analysis: which channels of a model can go, and what goes with them. */
import type { Model } from '../../ir/index.js';
import { groupUnits } from './group-units.js';
import { applyRule } from './rules/operator-rules.js';
import { settle } from './settle.js';
import type { AnalyzedStructure } from './structure-layout.js';
import { StructureScope } from './structure-scope.js';

/**
 * Walks the model once; it is not changed. Best after clean-up, which turns Constant nodes and what is computed of constants into
 * initializers. `shapes`: sizes by name of the value, observed on a sample (`observeShapes`), for what the model does not state.
 * Inputs and outputs keep their shapes. Unknown operators, and whatever cannot be followed, freeze the channels that they read.
 */
export function analyzeStructure(model: Model, shapes: ReadonlyMap<string, readonly number[]> = new Map()): AnalyzedStructure {
  const scope = new StructureScope(model, shapes, applyRule);
  scope.walk(model.graph);
  for (const output of model.graph.outputs) scope.pin(scope.carrier(output), `"${output.name}" is an output of the model`);
  return groupUnits(scope, settle(scope));
}
