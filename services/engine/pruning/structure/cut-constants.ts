/** Cuts the constants of a model; readers that lose other indices than the rest get a copy. */
import type { Node, Tensor, Value } from '../../ir/index.js';
import { type Constant, reportName } from '../../layers/weight-store.js';
import { keptElements } from './kept-elements.js';
import type { KeptRows, Survivors } from './pruning-structure.js';
import type { AnalyzedStructure, ValueLayout } from './structure-layout.js';
import type { SurgeryScope } from './surgery-scope.js';

/** Readers of a constant that want the same of it. */
interface Demand {
  readonly layout: ValueLayout | undefined;
  readonly kept: ReadonlyMap<number, KeptRows>;
  readonly readings: { readonly node: Node; readonly index: number }[];
}

export function cutConstants(structure: AnalyzedStructure, scope: SurgeryScope): Survivors {
  const survivors = new Map<string, ReadonlyMap<number, KeptRows>>();
  const values = new Set(structure.layouts.flatMap(({ constant, value }) => (constant ? [scope.twins.value(value)] : [])));
  for (const value of values) {
    const constant = scope.store.constant(value);
    if (constant) serve(constant, demands(value, scope), { scope, survivors });
  }
  return survivors;
}

/** What the readers want, that of most of them first; a graph output wants all. */
function demands(value: Value, scope: SurgeryScope): Demand[] {
  const byKey = new Map<string, Demand>();
  for (const reading of value.uses) {
    const layout = scope.input(reading.node, reading.index);
    const kept = new Map(scope.changedAxes(layout).map(({ axis, kept: lists }) => [axis, lists ?? []] as const));
    const key = JSON.stringify([...kept]);
    const known = byKey.get(key);
    if (known) known.readings.push(reading);
    else byKey.set(key, { layout, kept, readings: [reading] });
  }
  const sorted = [...byKey.values()].sort((a, b) => b.readings.length - a.readings.length);
  const isWhole = ({ kept }: Demand): boolean => kept.size === 0;
  return scope.store.isGraphOutput(value) ? sorted.sort((a, b) => Number(isWhole(b)) - Number(isWhole(a))) : sorted;
}

interface Service {
  readonly scope: SurgeryScope;
  readonly survivors: Map<string, ReadonlyMap<number, KeptRows>>;
}

/** The first demand is met in place, unless a graph returns the constant; each other one by a copy. */
function serve(constant: Constant, all: readonly Demand[], { scope, survivors }: Service): void {
  for (const [at, { layout, kept, readings }] of all.entries()) {
    if (kept.size === 0 && at === 0) continue;
    const tensor: Tensor = layout ? keptElements(constant.tensor, layout.tracks, scope.removed) : constant.tensor;
    const isInPlace = at === 0 && !scope.store.isGraphOutput(constant.value);
    const holder = isInPlace ? replaced(constant, tensor, scope) : copied(constant, tensor, { readings, scope });
    if (kept.size > 0) survivors.set(holder.name, kept);
  }
}

function copied(constant: Constant, tensor: Tensor, { readings, scope }: Pick<Demand, 'readings'> & { scope: SurgeryScope }): Value {
  const suffix = readings[0] ? `_${reportName(readings[0].node)}` : '';
  const { value } = scope.store.add(constant, suffix, tensor);
  for (const { node, index } of readings) node.setInput(index, value);
  return value;
}

function replaced({ value, graph, tensor: before }: Constant, tensor: Tensor, { store }: SurgeryScope): Value {
  value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
  return store.replace({ value, graph, tensor: before }, tensor).value;
}
