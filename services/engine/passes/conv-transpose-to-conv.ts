/** ConvTranspose with stride 1 is a convolution with the kernel turned round, for which runtimes have faster kernels. */
import { attributeOf, elementCount, intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/index.js';
import { floatTensor, floatValues } from './numeric-tensor.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

interface Geometry {
  readonly kernel: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** The convolution's window; undefined where the two operators do not coincide. pad' = dilation * (kernel - 1) - pad. */
function convolutionWindow(node: Node, kernel: readonly number[]): Geometry | undefined {
  const ones = kernel.map(() => 1);
  const zeros = [...kernel, ...kernel].map(() => 0);
  if (stringAttribute(node, 'auto_pad', 'NOTSET') !== 'NOTSET' || node.attributes.has('output_shape')) return undefined;
  if (intsAttribute(node, 'strides', ones).some((stride) => stride !== 1)) return undefined;
  if (intsAttribute(node, 'output_padding', zeros).some((extra) => extra !== 0)) return undefined;
  const dilations = intsAttribute(node, 'dilations', ones);
  const own = intsAttribute(node, 'pads', zeros);
  const pads = own.map((pad, at) => (dilations[at % kernel.length] ?? 1) * ((kernel[at % kernel.length] ?? 1) - 1) - pad);
  return pads.some((pad) => pad < 0) ? undefined : { kernel, dilations, pads };
}

/** w'[g*O + o, i, k] = w[g*I + i, o, K - 1 - k] for group g with I input and O output channels per group. */
function turnedKernel(values: ArrayLike<number>, dims: readonly number[], groups: number): Float64Array {
  const [inputs = 1, outputsPerGroup = 1] = dims;
  const taps = elementCount(dims.slice(2));
  const inputsPerGroup = inputs / groups;
  const turned = new Float64Array(values.length);
  for (let input = 0; input < inputs; input += 1) {
    const group = Math.floor(input / inputsPerGroup);
    for (let output = 0; output < outputsPerGroup; output += 1) {
      const from = (input * outputsPerGroup + output) * taps;
      const to = ((group * outputsPerGroup + output) * inputsPerGroup + (input % inputsPerGroup)) * taps;
      // Turning every spatial axis round reverses the taps of a kernel.
      for (let tap = 0; tap < taps; tap += 1) turned[to + tap] = values[from + taps - 1 - tap] ?? 0;
    }
  }
  return turned;
}

function asConvolution(node: Node, scope: PassScope): Rewrite | null {
  const [data, weight, bias] = node.inputs;
  const tensor = scope.editor.exclusiveConstant(weight);
  const values = floatValues(tensor);
  if (!data || !weight || !tensor || !values || tensor.dims.length < 3) return null;
  const kernel = tensor.dims.slice(2);
  const window = convolutionWindow(node, kernel);
  const groups = intAttribute(node, 'group', 1);
  if (!window) return null;
  const [inputs = 1, outputsPerGroup = 1] = tensor.dims;
  const turned = floatTensor(
    tensor.dataType,
    [outputsPerGroup * groups, inputs / groups, ...kernel],
    turnedKernel(values, tensor.dims, groups),
  );
  const conv = scope.editor.replacement(node, {
    opType: 'Conv',
    inputs: [data, scope.editor.addConstant(weight.name, turned, weight), ...(bias ? [bias] : [])],
    attributes: {
      group: attributeOf.int(groups),
      kernel_shape: attributeOf.ints(kernel),
      dilations: attributeOf.ints(window.dilations),
      pads: attributeOf.ints(window.pads),
      strides: attributeOf.ints(kernel.map(() => 1)),
    },
  });
  return { reason: 'with stride 1 it is a convolution with the kernel turned round', anchor: node, insert: [conv], remove: [node] };
}

export const convTransposeToConv: Pass = { name: 'conv-transpose-to-conv', opTypes: ['ConvTranspose'], rewrite: asConvolution };
