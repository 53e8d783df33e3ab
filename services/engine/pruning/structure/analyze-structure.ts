/** Dependency analysis: which channels of a model can go, and what goes with them. */
import type { Model, Value } from '../../ir/index.js';
import type { CarriedState } from '../../method.js';
import { groupUnits } from './group-units.js';
import { applyRule } from './rules/operator-rules.js';
import { settle } from './settle.js';
import type { AnalyzedStructure } from './structure-layout.js';
import { StructureScope } from './structure-scope.js';

export interface StructureOptions {
  /**
   * States that the model alone reads. Their inputs and outputs keep names and shapes, but what goes of them is not read, and zero when
   * it is returned: units that live in a state can go. Without them such units stay.
   */
  readonly states?: readonly CarriedState[];
}

/**
 * Walks the model once; it is not changed. Best after clean-up, which turns Constant nodes and what is computed of constants into
 * initializers. `shapes`: sizes by name of the value, observed on a sample (`observeShapes`), for what the model does not state.
 * Inputs and outputs keep their shapes. Unknown operators, and whatever cannot be followed, freeze the channels that they read.
 */
export function analyzeStructure(
  model: Model,
  shapes: ReadonlyMap<string, readonly number[]> = new Map(),
  { states = [] }: StructureOptions = {},
): AnalyzedStructure {
  const scope = new StructureScope(model, shapes, applyRule);
  const pairs = states.flatMap((state) => openState(scope, state) ?? []);
  scope.walk(model.graph);
  for (const { input, output } of pairs) tieState(scope, input, output);
  const carried = new Set(pairs.map(({ output }) => output));
  for (const output of model.graph.outputs) {
    if (!carried.has(output)) scope.pin(scope.carrier(output), `"${output.name}" is an output of the model`);
  }
  return groupUnits(scope, settle(scope));
}

interface StateEnds {
  readonly input: Value;
  readonly output: Value;
}

/** The input takes the slots of what reads it. null for a pair that the graph does not have, or that is one value. */
function openState(scope: StructureScope, state: CarriedState): StateEnds | null {
  const { inputs, outputs, initializers } = scope.model.graph;
  const input = inputs.find(({ name }) => name === state.input);
  const output = outputs.find(({ name }) => name === state.output);
  const carrier = input && scope.carrier(input);
  if (!input || !carrier || initializers.has(input) || !output?.producer || outputs.includes(input)) return null;
  carrier.isPliant = true;
  return { input, output };
}

/** What goes of the output goes of the input of the next run. */
function tieState(scope: StructureScope, input: Value, output: Value): void {
  const [from, to] = [scope.carrier(output), scope.carrier(input)];
  const why = `"${output.name}" is a state of another size than "${input.name}"`;
  if (!from || from.dims.join() !== to?.dims.join()) {
    scope.pin(from, why);
    scope.pin(to, why);
    return;
  }
  for (const axis of to.dims.keys()) {
    const left = scope.single(from, axis);
    const right = left || scope.track(to, axis) ? scope.single(to, axis) : undefined;
    if (left && right) scope.unite(left.slots, right.slots, why);
    else for (const track of [left, right]) if (track) scope.freeze(track.slots, `the state "${output.name}" keeps its size`);
  }
}
