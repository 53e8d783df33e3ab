/** Gradients of Conv and ConvTranspose: each is the other's adjoint. */
import { type Attribute, attributeOf, type GraphWriter, type Value } from '../../ir/index.js';
import { type ConvGeometry, convGeometry } from '../conv-geometry.js';
import type { GradientRule } from '../gradient-rule.js';
import { channelSums } from '../sums.js';
import { inputGradient } from './convolution-input.js';
import { weightGradient } from './convolution-weight.js';

const conv: GradientRule = (step) => {
  const { node, write } = step;
  const [x, weight] = node.inputs;
  const [gradient] = step.gradients;
  if (!x || !weight || !gradient) return [];
  const y = step.shape(node.outputs[0]);
  const geometry = convGeometry(node, { x: step.shape(x), y, weight: step.shape(weight) });
  return [
    step.wants(0) ? inputGradient(write, geometry, weight, gradient) : null,
    step.wants(1) ? weightGradient(write, geometry, x, gradient) : null,
    step.wants(2) ? channelSums(write, gradient, y) : null,
  ];
};

/** ConvTranspose is the adjoint of the Conv from its output to its input: that Conv carries its gradient back. */
const convTranspose: GradientRule = (step) => {
  const { node, write } = step;
  const [x, weight] = node.inputs;
  const [gradient] = step.gradients;
  if (!x || !weight || !gradient) return [];
  const y = step.shape(node.outputs[0]);
  const geometry = convGeometry(node, { x: y, y: step.shape(x), weight: step.shape(weight) });
  return [
    step.wants(0) ? write.node('Conv', [...cropped(write, geometry, gradient), weight], convAttributes(geometry)) : null,
    step.wants(1) ? weightGradient(write, geometry, gradient, x) : null,
    step.wants(2) ? channelSums(write, gradient, y) : null,
  ];
};

/** Conv takes no negative pads: what its kernel would not reach is cut off before. */
function cropped(write: GraphWriter, { padsEnd, kernel }: ConvGeometry, gradient: Value): [Value] {
  const crop = padsEnd.map((size) => Math.min(0, size));
  if (crop.every((size) => size === 0)) return [gradient];
  return [write.node('Pad', [gradient, write.ints([0, 0, ...kernel.map(() => 0), 0, 0, ...crop])])];
}

function convAttributes({ kernel, strides, dilations, group, padsBegin, padsEnd }: ConvGeometry): Record<string, Attribute> {
  return {
    kernel_shape: attributeOf.ints(kernel),
    strides: attributeOf.ints(strides),
    dilations: attributeOf.ints(dilations),
    group: attributeOf.int(group),
    pads: attributeOf.ints([...padsBegin, ...padsEnd.map((size) => Math.max(0, size))]),
  };
}

export const convolutionRules = { Conv: conv, ConvTranspose: convTranspose } as const satisfies Record<string, GradientRule>;
