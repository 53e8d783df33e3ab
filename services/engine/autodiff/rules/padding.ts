/** Gradients of padding and cropping. */
import { attributeOf, intsAttribute, stringAttribute, type Value } from '../../ir/index.js';
import { constantNumbers } from '../constant-numbers.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

interface PaddedAxis {
  readonly axis: number;
  /** Elements of x along it, and copies before and behind them. */
  readonly size: number;
  readonly before: number;
  readonly behind: number;
}

function paddedAxes(step: BackwardStep): PaddedAxis[] {
  const dims = step.shape(step.node.inputs[0]);
  const pads = constantNumbers(step, 'pads', 1) ?? [];
  const axes = constantNumbers(step, 'axes', 3) ?? dims.map((_, axis) => axis);
  return axes.map((given, at) => {
    const axis = given < 0 ? given + dims.length : given;
    return { axis, size: dims[axis] ?? 1, before: pads[at] ?? 0, behind: pads[at + axes.length] ?? 0 };
  });
}

/** Zeros before and behind along some axes, or so many elements less where the numbers are negative. */
function extended({ write }: BackwardStep, value: Value, { rank, axes }: { rank: number; axes: readonly PaddedAxis[] }): Value {
  const pads = Array.from({ length: 2 * rank }, () => 0);
  for (const { axis, before, behind } of axes) {
    pads[axis] = before;
    pads[axis + rank] = behind;
  }
  return pads.every((size) => size === 0) ? value : write.node('Pad', [value, write.ints(pads)]);
}

const negated = ({ axis, size, before, behind }: PaddedAxis): PaddedAxis => ({ axis, size, before: 0 - before, behind: 0 - behind });

/** What was added is cut off; the gradient of a copy is added to that of the element. */
const pad: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const { node } = step;
  if (!gradient) return [];
  const axes = paddedAxes(step);
  const rank = step.shape(node.inputs[0]).length;
  const mode = stringAttribute(node, 'mode', 'constant');
  if (mode === 'constant') return [extended(step, gradient, { rank, axes: axes.map(negated) })];
  if (axes.some(({ before, behind }) => before < 0 || behind < 0)) throw unknownOperand(node, 'negative pads by copies');
  return [axes.reduce((sum, each) => folded(step, sum, { ...each, rank, mode }), gradient)];
};

interface Fold extends PaddedAxis {
  readonly rank: number;
  readonly mode: string;
}

/** The copies on both sides of one axis, added to what they are copies of. */
function folded(step: BackwardStep, value: Value, fold: Fold): Value {
  const { write } = step;
  const { axis, size, before, behind, rank } = fold;
  const cut = (from: number, to: number): Value => write.node('Slice', [value, write.ints([from]), write.ints([to]), write.ints([axis])]);
  const placed = (part: Value, at: number, length: number): Value =>
    extended(step, part, { rank, axes: [{ axis, size, before: at, behind: size - at - length }] });
  const parts = [cut(before, before + size)];
  const sides = [
    { length: before, part: () => cut(0, before), at: { reflect: 1, wrap: size - before } },
    { length: behind, part: () => cut(before + size, before + size + behind), at: { reflect: size - 1 - behind, wrap: 0 } },
  ];
  for (const [side, { length, part, at }] of sides.entries()) {
    if (length === 0) continue;
    if (fold.mode === 'edge') parts.push(placed(total(step, part(), axis), side === 0 ? 0 : size - 1, 1));
    else if (fold.mode === 'reflect') parts.push(placed(turned(step, part(), axis), at.reflect, length));
    else if (fold.mode === 'wrap') parts.push(placed(part(), at.wrap, length));
    else throw unknownOperand(step.node, `elements padded by ${fold.mode}`);
  }
  return parts.length === 1 ? (parts[0] as Value) : write.node('Sum', parts);
}

const total = ({ write }: BackwardStep, value: Value, axis: number): Value =>
  write.node('ReduceSum', [value, write.ints([axis])], { keepdims: attributeOf.int(1) });

const LAST = Number.MAX_SAFE_INTEGER;

function turned({ write }: BackwardStep, value: Value, axis: number): Value {
  return write.node('Slice', [value, write.ints([LAST]), write.ints([-LAST]), write.ints([axis]), write.ints([-1])]);
}

/** Crops, or pads with zeros, to a size on both sides alike; the odd element goes behind (ONNX CenterCropPad). */
const centerCropPad: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const { node } = step;
  if (!gradient) return [];
  const [from, to] = [step.shape(node.inputs[0]), step.shape(node.outputs[0])];
  const axes = intsAttribute(node, 'axes', undefined) ?? from.map((_, axis) => axis);
  const back = axes.map((given): PaddedAxis => {
    const axis = given < 0 ? given + from.length : given;
    const [size, target] = [from[axis] ?? 1, to[axis] ?? 1];
    const less = Math.abs(size - target);
    const [before, behind] = [Math.floor(less / 2), Math.ceil(less / 2)];
    return size > target ? { axis, size, before, behind } : { axis, size, before: 0 - before, behind: 0 - behind };
  });
  return [extended(step, gradient, { rank: from.length, axes: back })];
};

export const paddingRules = { Pad: pad, CenterCropPad: centerCropPad } as const satisfies Record<string, GradientRule>;
