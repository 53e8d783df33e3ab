/** Inputs and outputs that carry a state keep their shapes: what remains is gathered behind the input, and spread before the output. */
import { attributeOf, float32Tensor, graphsWithin, int64Tensor, type Node, type Use, type Value } from '../../ir/index.js';
import type { AnalyzedStructure, ValueLayout } from './structure-layout.js';
import type { SurgeryScope } from './surgery-scope.js';

/** From this version on the pads are an input. */
const PADS_AS_INPUT = 11;

export function keepInterface(structure: AnalyzedStructure, scope: SurgeryScope): void {
  for (const { layout, value } of ends(structure, scope)) {
    if (value.producer) spreadBefore(scope, value, layout);
    else gatherBehind(scope, value, layout);
  }
}

/** In the masked original, what a pruned model does not return of a state is zero. */
export function maskStates(structure: AnalyzedStructure, scope: SurgeryScope): void {
  for (const { layout, value } of ends(structure, scope)) {
    if (!value.producer) continue;
    let inner = inside(scope, value);
    for (const [at, { axis, before, kept }] of scope.changedAxes(layout).entries()) {
      const left = new Set(kept?.[0]);
      const mask = float32Tensor(
        layout.dims.map((_, each) => (each === axis ? before : 1)),
        Float32Array.from({ length: before }, (_, index) => Number(left.has(index))),
      );
      const target = at === scope.changedAxes(layout).length - 1 ? value : scope.store.newValue(`${value.name}_masked`);
      const constant = scope.store.declare(scope.model.graph, `${value.name}_mask`, mask);
      append(scope, scope.store.newNode({ opType: 'Mul', inputs: [inner, constant.value], outputs: [target] }, `${value.name}_mask`));
      inner = target;
    }
  }
}

/** Inputs and outputs of the graph that lose something. */
function ends({ layouts }: AnalyzedStructure, scope: SurgeryScope): { layout: ValueLayout; value: Value }[] {
  return layouts.flatMap((layout) => {
    const value = scope.twins.value(layout.value);
    const isEnd = !layout.constant && scope.isInterface(value) && scope.changedAxes(layout).length > 0;
    return isEnd ? [{ layout, value }] : [];
  });
}

function append(scope: SurgeryScope, node: Node): void {
  scope.model.graph.append(node);
}

function gatherBehind(scope: SurgeryScope, input: Value, layout: ValueLayout): void {
  const uses = [...input.uses];
  const { graph } = scope.model;
  let value = input;
  const nodes = scope.changedAxes(layout).map(({ axis, kept }) => {
    const indices = scope.store.declare(graph, `${input.name}_kept`, int64Tensor([kept?.[0]?.length ?? 0], kept?.[0] ?? []));
    const output = scope.store.newValue(`${input.name}_pruned`);
    const inputs = [value, indices.value];
    value = output;
    return scope.store.newNode(
      { opType: 'Gather', inputs, outputs: [output], attributes: { axis: attributeOf.int(axis) } },
      `${input.name}_gather`,
    );
  });
  scope.store.insertFirst(graph, ...nodes);
  rewire(scope, input, { uses, to: value });
}

/** Readers, and branches that return the value, see another one. */
function rewire({ model }: SurgeryScope, from: Value, { uses, to }: { uses: readonly Use[]; to: Value }): void {
  for (const { node, index } of uses) node.setInput(index, to);
  for (const graph of graphsWithin(model.graph)) {
    if (graph !== model.graph) for (const [at, output] of graph.outputs.entries()) if (output === from) graph.outputs[at] = to;
  }
}

/** A new value takes the place of the output inside the graph. */
function inside(scope: SurgeryScope, output: Value): Value {
  const { producer } = output;
  const inner = scope.store.newValue(`${output.name}_inner`);
  const uses = [...output.uses];
  producer?.setOutput(producer.outputs.indexOf(output), inner);
  rewire(scope, output, { uses, to: inner });
  return inner;
}

/** One index of zeros behind the last one, gathered wherever something went. */
function spreadBefore(scope: SurgeryScope, output: Value, layout: ValueLayout): void {
  const { graph } = scope.model;
  let value = inside(scope, output);
  const changed = scope.changedAxes(layout);
  for (const [at, { axis, before, kept }] of changed.entries()) {
    const list = kept?.[0] ?? [];
    const padded = scope.store.newValue(`${output.name}_padded`);
    append(scope, padding(scope, { value, padded, axis, rank: layout.dims.length }));
    const positions = Array.from({ length: before }, (_, index) => (list.includes(index) ? list.indexOf(index) : list.length));
    const indices = scope.store.declare(graph, `${output.name}_places`, int64Tensor([before], positions));
    const target = at === changed.length - 1 ? output : scope.store.newValue(`${output.name}_spread`);
    const gather = { opType: 'Gather', inputs: [padded, indices.value], outputs: [target], attributes: { axis: attributeOf.int(axis) } };
    append(scope, scope.store.newNode(gather, `${output.name}_spread`));
    value = target;
  }
}

interface Padding {
  readonly value: Value;
  readonly padded: Value;
  readonly axis: number;
  readonly rank: number;
}

function padding(scope: SurgeryScope, { value, padded, axis, rank }: Padding): Node {
  const pads = Array.from({ length: 2 * rank }, (_, at) => Number(at === rank + axis));
  const name = `${value.name}_pad`;
  if (scope.model.opset < PADS_AS_INPUT)
    return scope.store.newNode({ opType: 'Pad', inputs: [value], outputs: [padded], attributes: { pads: attributeOf.ints(pads) } }, name);
  const constant = scope.store.declare(scope.model.graph, `${value.name}_pads`, int64Tensor([2 * rank], pads));
  return scope.store.newNode({ opType: 'Pad', inputs: [value, constant.value], outputs: [padded] }, name);
}
