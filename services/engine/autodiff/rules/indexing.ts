/** Gradients of reading and writing by index: reads are undone by adding writes, writes by reads. */
import { attributeOf, elementCount, intAttribute, integerValues, stringAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

const add = { reduction: attributeOf.string('add') };

const zeros = ({ write }: BackwardStep, dims: readonly number[]): Value => write.node('Expand', [write.float(0), write.ints(dims)]);

function axisOf(step: BackwardStep, fallback: number): number {
  const axis = intAttribute(step.node, 'axis', fallback);
  return axis < 0 ? axis + step.shape(step.node.inputs[0]).length : axis;
}

const gather: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const [data, indices] = step.node.inputs;
  if (!gradient || !data || !indices) return [];
  const dims = step.shape(data);
  const axis = axisOf(step, 0);
  const constant = step.constant(indices);
  const [place] = constant && constant.dims.length === 0 ? integerValues(constant) : [];
  if (place !== undefined) return [putBack(step, gradient, { dims, axis, place })];
  return [addRows(step, { gradient, indices, dims, axis })];
};

/** One slice along the axis, with zeros on both sides. */
function putBack(
  { write }: BackwardStep,
  gradient: Value,
  { dims, axis, place }: { dims: readonly number[]; axis: number; place: number },
): Value {
  const size = dims[axis] ?? 1;
  const at = place < 0 ? place + size : place;
  const slice = write.node('Reshape', [gradient, write.ints(dims.map((each, other) => (other === axis ? 1 : each)))]);
  const pads = Array.from({ length: 2 * dims.length }, (_, end) => (end === axis ? at : end === axis + dims.length ? size - 1 - at : 0));
  return write.node('Pad', [slice, write.ints(pads)]);
}

interface Rows {
  readonly gradient: Value;
  readonly indices: Value;
  readonly dims: readonly number[];
  readonly axis: number;
}

/** Rows read twice get both gradients: ScatterND along the first axis, where the gathered axis is moved for it. */
function addRows(step: BackwardStep, { gradient, indices, dims, axis }: Rows): Value {
  const { write } = step;
  const taken = step.shape(indices);
  const count = elementCount(taken);
  const rest = dims.filter((_, other) => other !== axis);
  const order = [...taken.map((_, at) => axis + at), ...rest.map((_, at) => (at < axis ? at : at + taken.length))];
  const moved = axis === 0 ? gradient : write.node('Transpose', [gradient], { perm: attributeOf.ints(order) });
  const rows = write.node('Reshape', [moved, write.ints([count, ...rest])]);
  const places = write.node('Reshape', [write.node('Cast', [indices], { to: attributeOf.int(7) }), write.ints([count, 1])]);
  const table = write.node('ScatterND', [zeros(step, [dims[axis] ?? 1, ...rest]), places, rows], add);
  if (axis === 0) return table;
  const back = [
    ...Array.from({ length: axis }, (_, at) => at + 1),
    0,
    ...Array.from({ length: rest.length - axis }, (_, at) => axis + at + 1),
  ];
  return write.node('Transpose', [table], { perm: attributeOf.ints(back) });
}

const gatherElements: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const [data, indices] = step.node.inputs;
  if (!gradient || !data || !indices) return [];
  const axis = { axis: attributeOf.int(intAttribute(step.node, 'axis', 0)) };
  return [step.write.node('ScatterElements', [zeros(step, step.shape(data)), indices, gradient], { ...axis, ...add })];
};

const gatherNd: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const [data, indices] = step.node.inputs;
  if (!gradient || !data || !indices) return [];
  if (intAttribute(step.node, 'batch_dims', 0) !== 0) throw unknownOperand(step.node, 'batch_dims');
  return [step.write.node('ScatterND', [zeros(step, step.shape(data)), indices, gradient], add)];
};

/** Written places of the data have no gradient, unless the update was added to them. */
const scattered =
  (
    read: (step: BackwardStep, gradient: Value, indices: Value) => Value,
    attributesOf: (step: BackwardStep) => Record<string, ReturnType<typeof attributeOf.int>>,
  ): GradientRule =>
  (step) => {
    const [gradient] = step.gradients;
    const { node, write } = step;
    const [, indices, updates] = node.inputs;
    if (!gradient || !indices || !updates) return [];
    const reduction = stringAttribute(node, 'reduction', 'none');
    if (reduction !== 'none' && reduction !== 'add') throw unknownOperand(node, `reductions by ${reduction}`);
    const erased = () => write.node(node.opType, [gradient, indices, zeros(step, step.shape(updates))], attributesOf(step));
    return [step.wants(0) ? (reduction === 'add' ? gradient : erased()) : null, null, step.wants(2) ? read(step, gradient, indices) : null];
  };

/** Reversing the first steps of each sequence twice changes nothing. */
const reverseSequence: GradientRule = ({ node, write, gradients: [gradient] }) => {
  const [, lengths] = node.inputs;
  if (!gradient || !lengths) return [];
  const axes = {
    batch_axis: attributeOf.int(intAttribute(node, 'batch_axis', 1)),
    time_axis: attributeOf.int(intAttribute(node, 'time_axis', 0)),
  };
  return [write.node('ReverseSequence', [gradient, lengths], axes)];
};

/** Values sorted out go back to where they came from. */
const topK: GradientRule = (step) => {
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const axis = { axis: attributeOf.int(intAttribute(step.node, 'axis', -1)) };
  return [step.write.node('ScatterElements', [zeros(step, step.shape(step.node.inputs[0])), step.output(1), gradient], axis)];
};

const elementsAxis = (step: BackwardStep) => ({ axis: attributeOf.int(intAttribute(step.node, 'axis', 0)) });

export const indexingRules = {
  Gather: gather,
  GatherElements: gatherElements,
  GatherND: gatherNd,
  ScatterElements: scattered(
    (step, gradient, indices) => step.write.node('GatherElements', [gradient, indices], elementsAxis(step)),
    elementsAxis,
  ),
  ScatterND: scattered(
    (step, gradient, indices) => step.write.node('GatherND', [gradient, indices]),
    () => ({}),
  ),
  ReverseSequence: reverseSequence,
  TopK: topK,
} as const satisfies Record<string, GradientRule>;
