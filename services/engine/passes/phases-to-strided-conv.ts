/** An image cut into its even and odd rows and columns (Focus, space to depth) before a convolution is a convolution with a larger stride. */
import {
  attributeOf,
  elementCount,
  float32Tensor,
  float32Values,
  intAttribute,
  intsAttribute,
  type Node,
  stringAttribute,
  type Tensor,
  type Value,
} from '../ir/index.js';
import { axisAttribute, clampSlice, sliceOperands } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

/** Every step-th position of each axis from a start on. */
interface Phase {
  readonly source: Value;
  readonly starts: readonly number[];
  readonly steps: readonly number[];
}

/** What a chain of Slices takes of its source, when it takes whole axes in equal steps. */
function phaseOf(value: Value, rank: number, scope: PassScope): Phase | undefined {
  const starts = new Array<number>(rank).fill(0);
  const steps = new Array<number>(rank).fill(1);
  let source = value;
  for (let node = source.producer; node?.opType === 'Slice' && node.domain === ''; node = source.producer) {
    const slices = sliceOperands(node, scope.facts);
    const [data] = node.inputs;
    if (!slices || !data) return undefined;
    for (const slice of slices) {
      const size = scope.facts.shape(data)?.[slice.axis];
      if (typeof size !== 'number' || slice.step < 1 || size % slice.step !== 0 || steps[slice.axis] !== 1) return undefined;
      const { start, count } = clampSlice(slice, size);
      if (start >= slice.step || count !== size / slice.step) return undefined;
      starts[slice.axis] = start;
      steps[slice.axis] = slice.step;
    }
    source = data;
  }
  return { source, starts, steps };
}

interface Phases {
  readonly source: Value;
  readonly channels: number;
  /** Of the spatial axes. */
  readonly steps: readonly number[];
  /** Starts on the spatial axes, in the order in which the phases are joined. */
  readonly offsets: readonly (readonly number[])[];
}

/** All phases of one source, each once, joined along the channels. */
function joinedPhases(concat: Node, rank: number, scope: PassScope): Phases | undefined {
  if (axisAttribute(concat, 1, rank) !== 1) return undefined;
  const phases = concat.inputs.map((value) => value && phaseOf(value, rank, scope));
  const [first] = phases;
  const channels = first && scope.facts.shape(first.source)?.[1];
  if (!first || typeof channels !== 'number') return undefined;
  const [batch, channel, ...steps] = first.steps;
  const isAlike = (phase: Phase | null | undefined): phase is Phase =>
    phase?.source === first.source && phase.steps.every((step, axis) => step === first.steps[axis]);
  if (batch !== 1 || channel !== 1 || !phases.every(isAlike)) return undefined;
  const offsets = phases.map(({ starts }) => starts.slice(2));
  const isComplete = new Set(offsets.map(String)).size === offsets.length && offsets.length === elementCount(steps);
  return isComplete && offsets.length > 1 ? { source: first.source, channels, steps, offsets } : undefined;
}

function isPlain(node: Node): boolean {
  const isOne = (size: number): boolean => size === 1;
  const isDense = intAttribute(node, 'group', 1) === 1 && intsAttribute(node, 'dilations', []).every(isOne);
  return isDense && stringAttribute(node, 'auto_pad', 'NOTSET') === 'NOTSET';
}

/** w'[m, c, s k + o] = w[m, p C + c, k] for phase p with starts o and steps s. */
function widened(weight: Tensor, { channels, steps, offsets }: Phases): Tensor {
  const [outputs = 0, inputs = 0, ...kernel] = weight.dims;
  const wide = kernel.map((size, axis) => size * (steps[axis] ?? 1));
  const values = float32Values(weight);
  const result = new Float32Array(values.length);
  const taps = elementCount(kernel);
  for (let row = 0; row < outputs * inputs; row += 1) {
    const input = row % inputs;
    const starts = offsets[Math.floor(input / channels)] ?? [];
    const target = (Math.floor(row / inputs) * channels + (input % channels)) * elementCount(wide);
    for (let tap = 0; tap < taps; tap += 1) {
      let [place, rest, stride] = [0, tap, 1];
      for (let axis = kernel.length - 1; axis >= 0; axis -= 1) {
        const size = kernel[axis] ?? 1;
        place += stride * ((rest % size) * (steps[axis] ?? 1) + (starts[axis] ?? 0));
        stride *= wide[axis] ?? 1;
        rest = Math.floor(rest / size);
      }
      result[target + place] = values[row * taps + tap] ?? 0;
    }
  }
  return float32Tensor([outputs, channels, ...wide], result);
}

/**
 * conv(concat of x[2i + a, 2j + b], w) reads x[2(i + k) + a, 2(j + l) + b] with w[k, l] of phase (a, b): a convolution of x with twice the
 * kernel, stride and padding, the same products in the same number. Slices with a step copy the image on one thread.
 */
export const phasesToStridedConv: Pass = {
  name: 'phases-to-strided-conv',
  opTypes: ['Conv'],
  rewrite(node, scope): Rewrite | null {
    const concat = scope.editor.soleProducer(node.inputs[0]);
    const weightValue = node.inputs[1];
    const weight = scope.editor.exclusiveConstant(weightValue);
    if (!weightValue || weight?.dataType !== 'float32' || concat?.opType !== 'Concat' || concat.domain !== '' || !isPlain(node))
      return null;
    const phases = concat.graph === scope.graph ? joinedPhases(concat, weight.dims.length, scope) : undefined;
    if (!phases) return null;
    const { steps } = phases;
    const times = (name: string, fallback: number): readonly number[] => {
      const given = intsAttribute(node, name, undefined) ?? [...steps, ...(name === 'pads' ? steps : [])].map(() => fallback);
      return given.map((size, at) => size * (steps[at % steps.length] ?? 1));
    };
    const wide = widened(weight, phases);
    const attributes = new Map(node.attributes)
      .set('kernel_shape', attributeOf.ints(wide.dims.slice(2)))
      .set('strides', attributeOf.ints(times('strides', 1)))
      .set('pads', attributeOf.ints(times('pads', 0)));
    const inputs = [phases.source, scope.editor.addConstant(weightValue.name, wide, weightValue), ...node.inputs.slice(2)];
    const conv = scope.editor.replacement(node, { opType: 'Conv', inputs, attributes });
    return {
      reason: 'rows and columns taken apart are read by the strides of the convolution',
      anchor: node,
      insert: [conv],
      remove: [concat],
      replaced: [node],
    };
  },
};
