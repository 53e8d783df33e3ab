/** Operands that older operator sets give as attributes and newer ones as inputs, read in one form. */
import { intAttribute, intsAttribute, type Node } from '../ir/index.js';
import type { FactView } from './infer-rule.js';
import { normalizeAxis } from './value-facts.js';

/** `axes` of Squeeze, Unsqueeze and the reductions: attribute or input `index`. 'absent' when the node gives none. */
export function axesOperand(node: Node, index: number, view: FactView): readonly number[] | 'absent' | undefined {
  const attribute = intsAttribute(node, 'axes', undefined);
  if (attribute) return attribute;
  const input = node.inputs[index];
  return input ? view.integers(input) : 'absent';
}

export interface SliceAxis {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** Starts, ends, axes and steps of a Slice with constant operands, not clamped; undefined when they are not known. */
export function sliceOperands(node: Node, view: FactView): SliceAxis[] | undefined {
  const rank = view.fact(node.inputs[0]).shape?.length;
  const starts = intsAttribute(node, 'starts', undefined) ?? view.integers(node.inputs[1]);
  const ends = intsAttribute(node, 'ends', undefined) ?? view.integers(node.inputs[2]);
  if (!starts || !ends || rank === undefined) return undefined;
  const axes = intsAttribute(node, 'axes', undefined) ?? (node.inputs[3] ? view.integers(node.inputs[3]) : starts.map((_, axis) => axis));
  const steps = node.inputs[4] ? view.integers(node.inputs[4]) : starts.map(() => 1);
  if (!axes || !steps) return undefined;
  return starts.map((start, index) => ({
    axis: normalizeAxis(axes[index] ?? 0, rank),
    start,
    end: ends[index] ?? 0,
    step: steps[index] ?? 1,
  }));
}

/** Start, and number of elements taken, on an axis of known size (ONNX Slice clamping rules). */
export function clampSlice(slice: SliceAxis, size: number): { start: number; count: number } {
  const fromEnd = (position: number) => (position < 0 ? position + size : position);
  if (slice.step > 0) {
    const start = Math.min(Math.max(fromEnd(slice.start), 0), size);
    const end = Math.min(Math.max(fromEnd(slice.end), 0), size);
    return { start, count: Math.max(0, Math.ceil((end - start) / slice.step)) };
  }
  const start = Math.min(Math.max(fromEnd(slice.start), 0), size - 1);
  const end = Math.min(Math.max(fromEnd(slice.end), -1), size - 1);
  return { start, count: Math.max(0, Math.ceil((end - start) / slice.step)) };
}

export function axisAttribute(node: Node, fallback: number, rank: number): number {
  return normalizeAxis(intAttribute(node, 'axis', fallback), rank);
}

/** `perm` of Transpose; the reversal when absent. */
export function permutation(node: Node, rank: number): readonly number[] {
  return intsAttribute(node, 'perm', undefined) ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
}
