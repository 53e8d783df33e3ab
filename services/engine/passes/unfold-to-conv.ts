/** A window gathered along the last axis (unfold) and mixed by a 1x1 convolution is a convolution with a wider kernel. */
import { attributeOf, int64Tensor, intAttribute, intsAttribute, type Node, stringAttribute, type Tensor, type Value } from '../ir/index.js';
import { numericValues } from './numeric-tensor.js';
import { axisAttribute } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

interface Unfold {
  readonly taps: number;
  readonly dilation: number;
  readonly stride: number;
}

/** indices[j, l] = j * dilation + l * stride with exactly as many columns as a convolution has positions. */
function unfoldOf(indices: Tensor, length: number): Unfold | undefined {
  const [taps = 0, columns = 0] = indices.dims;
  const values = numericValues(indices);
  if (indices.dims.length !== 2 || !values || taps < 1 || columns < 1) return undefined;
  const dilation = taps > 1 ? (values[columns] ?? 0) : 1;
  const stride = columns > 1 ? (values[1] ?? 0) : 1;
  if (dilation < 1 || stride < 1) return undefined;
  for (let tap = 0; tap < taps; tap += 1) {
    for (let column = 0; column < columns; column += 1) {
      if (values[tap * columns + column] !== tap * dilation + column * stride) return undefined;
    }
  }
  const positions = Math.floor((length - dilation * (taps - 1) - 1) / stride) + 1;
  return positions === columns ? { taps, dilation, stride } : undefined;
}

function isPointwise(node: Node, weight: Tensor): boolean {
  const ones = (name: string): boolean => intsAttribute(node, name, [1]).every((value) => value === 1);
  const noPads = intsAttribute(node, 'pads', [0]).every((pad) => pad === 0);
  const plain = stringAttribute(node, 'auto_pad', 'NOTSET') === 'NOTSET' && intAttribute(node, 'group', 1) === 1;
  return plain && noPads && ones('strides') && weight.dims.length === 4 && weight.dims[2] === 1 && weight.dims[3] === 1;
}

interface Match {
  readonly source: Value;
  readonly weight: Tensor;
  readonly channels: number;
  readonly length: number;
  readonly unfold: Unfold;
}

/** Conv1x1(reshape(gather(x, indices; last axis))) with [N, C, 1, L] before and [N, C * taps, 1, columns] after. */
function match(node: Node, scope: PassScope): Match | undefined {
  const weight = scope.editor.exclusiveConstant(node.inputs[1]);
  const reshape = node.inputs[0]?.producer;
  const gather = reshape?.opType === 'Reshape' ? reshape.inputs[0]?.producer : undefined;
  if (!weight || !isPointwise(node, weight) || gather?.opType !== 'Gather' || gather.domain !== '') return undefined;
  const dims = scope.facts.dims(gather.inputs[0]);
  const after = scope.facts.dims(node.inputs[0]);
  const indices = scope.facts.constant(gather.inputs[1]);
  const [source] = gather.inputs;
  const length = dims?.at(-1);
  if (!dims || !after || !indices || !source || length === undefined || axisAttribute(gather, 0, dims.length) !== dims.length - 1)
    return undefined;
  const unfold = unfoldOf(indices, length);
  const [batch = 1, mixed = 0, height] = after;
  if (!unfold || after.length !== 4 || height !== 1 || mixed % unfold.taps !== 0) return undefined;
  const channels = mixed / unfold.taps;
  const rows = dims.slice(0, -1).reduce((product, size) => product * size, 1);
  return rows === batch * channels && after[3] === indices.dims[1] ? { source, weight, channels, length, unfold } : undefined;
}

/**
 * sum over c, j of w[o, c * taps + j] * x[c, j * d + l * s]: the same sum that a convolution with kernel [1, taps],
 * dilation d and stride s takes, and the weight has the same memory as w[o, c, 0, j].
 */
export const unfoldToConv: Pass = {
  name: 'unfold-to-conv',
  opTypes: ['Conv'],
  rewrite(node, scope): Rewrite | null {
    const found = match(node, scope);
    const weightValue = node.inputs[1];
    if (!found || !weightValue) return null;
    const { source, weight, channels, length, unfold } = found;
    const batch = scope.facts.dims(node.inputs[0])?.[0] ?? 1;
    const shape = scope.editor.addConstant(`${source.name}_rows`, int64Tensor([4], [batch, channels, 1, length]));
    const rows = scope.editor.newNode({ opType: 'Reshape', inputs: [source, shape] }, `${source.name}_rows`);
    const kernel = { ...weight, dims: [weight.dims[0] ?? 1, channels, 1, unfold.taps] };
    const conv = scope.editor.replacement(node, {
      opType: 'Conv',
      inputs: [rows.output, scope.editor.addConstant(weightValue.name, kernel, weightValue), ...node.inputs.slice(2)],
      attributes: {
        kernel_shape: attributeOf.ints([1, unfold.taps]),
        strides: attributeOf.ints([1, unfold.stride]),
        dilations: attributeOf.ints([1, unfold.dilation]),
        pads: attributeOf.ints([0, 0, 0, 0]),
        group: attributeOf.int(1),
      },
    });
    return { reason: 'gathering a window and mixing it is a convolution', anchor: node, insert: [rows.node, conv], replaced: [node] };
  },
};
