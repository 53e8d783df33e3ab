/** Bounds, sizes and indices of Split, Slice and Gather after the axis lost indices. */
import { attributeOf, integerValues, type Node } from '../../../ir/index.js';
import { axisAttribute, clampSlice, type SliceAxis, sliceOperands } from '../../../passes/operand-forms.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import type { SurgeryScope } from '../surgery-scope.js';

const SPLIT_AS_INPUT = 13;

export function adjustSplit(node: Node, scope: SurgeryScope): void {
  const input = scope.input(node, 0);
  if (!input) return;
  const axis = axisAttribute(node, 0, input.dims.length);
  if (!scope.axis(input, axis).kept) return;
  const sizes = node.outputs.map((_, at) => scope.axis(scope.output(node, at), axis).after);
  node.attributes.delete('num_outputs');
  if (scope.model.opset < SPLIT_AS_INPUT) node.attributes.set('split', attributeOf.ints(sizes));
  else scope.setVector(node, 1, sizes);
}

/** A slice takes what remains of what it took: it starts behind what remains in front of it, in whole strides. */
export function adjustSlice(node: Node, scope: SurgeryScope): void {
  const input = scope.input(node, 0);
  const cuts = sliceOperands(node, scope.facts)?.map((cut) => {
    const { kept, before } = scope.axis(input, cut.axis);
    return { cut, kept: kept?.[0], before };
  });
  if (!cuts?.some(({ kept }) => kept)) return;
  const bounds = cuts.map(({ cut, kept, before }) => (kept ? newBounds(cut, kept, before) : cut));
  const [starts, ends] = [bounds.map(({ start }) => start), bounds.map(({ end }) => end)];
  if (node.inputs.length > 1) {
    scope.setVector(node, 1, starts);
    scope.setVector(node, 2, ends);
  } else {
    node.attributes.set('starts', attributeOf.ints(starts));
    node.attributes.set('ends', attributeOf.ints(ends));
  }
}

/** Far in front of the first element: a negative end counts from behind. */
const IN_FRONT = -(2 ** 31);

function newBounds(cut: SliceAxis, kept: readonly number[], size: number): { start: number; end: number } {
  const { step } = cut;
  const { start, count } = clampSlice(cut, size);
  const taken = kept.filter((index) => isTaken(index, { start, count, step })).length;
  if (step < 0) {
    const first = kept.filter((index) => index <= start).length - 1;
    return { start: first, end: first < taken ? IN_FRONT : first - taken };
  }
  const inFront = kept.filter((index) => Math.floor(index / step) < Math.floor(start / step)).length;
  const first = inFront + (start % step);
  return { start: first, end: first + step * (taken - 1) + 1 };
}

function isTaken(index: number, { start, count, step }: { start: number; count: number; step: number }): boolean {
  const at = (index - start) / step;
  return Number.isInteger(at) && at >= 0 && at < count;
}

/** Indices of what remains, counted anew. */
export function adjustGather(node: Node, scope: SurgeryScope): void {
  const input = scope.input(node, 0);
  const indices = scope.constant(node.inputs[1]);
  if (!input || !indices) return;
  const axis = axisAttribute(node, 0, input.dims.length);
  const { kept, before } = scope.axis(input, axis);
  if (!kept?.[0]) return;
  const list = kept[0];
  const positions = integerValues(indices).map((at) => list.indexOf(normalizeAxis(at, before)));
  const left = positions.filter((at) => at >= 0);
  scope.setVector(node, 1, left, indices.dims.length === 0 ? [] : undefined);
}
