/** Gradients of pooling. */
import {
  attributeOf,
  elementCount,
  float32Tensor,
  type GraphWriter,
  intAttribute,
  intsAttribute,
  type Node,
  type Value,
} from '../../ir/index.js';
import { type ConvGeometry, convGeometry } from '../conv-geometry.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

/** A pool has the geometry of a convolution of each channel with its window. */
function poolGeometry(step: BackwardStep): ConvGeometry {
  const { node } = step;
  const y = step.shape(node.outputs[0]);
  const kernel = intsAttribute(node, 'kernel_shape', []);
  return convGeometry(node, { x: step.shape(node.inputs[0]), y, weight: [y[1] ?? 1, 1, ...kernel] });
}

/** Windows side by side that cover x exactly. */
function isTiling({ kernel, strides, dilations, padsBegin, input, output }: ConvGeometry): boolean {
  return kernel.every(
    (size, axis) => size === strides[axis] && dilations[axis] === 1 && padsBegin[axis] === 0 && (output[axis] ?? 0) * size === input[axis],
  );
}

/** The gradient goes to the place that the maximum was taken from: the runtime's own indices, flat over the whole tensor. */
const maxPool: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x] = node.inputs;
  if (!gradient || !x) return [];
  const geometry = poolGeometry(step);
  const indices = rowMajorIndices(step, x);
  if (isTiling(geometry) && geometry.kernel.length === 2) {
    const { kernel, strides } = geometry;
    return [write.node('MaxUnpool', [gradient, indices], { kernel_shape: attributeOf.ints(kernel), strides: attributeOf.ints(strides) })];
  }
  const dims = step.shape(x);
  const zeros = write.node('Expand', [write.float(0), write.ints([elementCount(dims)])]);
  const flat = (value: Value): Value => write.node('Reshape', [value, write.ints([-1])]);
  const scattered = write.node('ScatterElements', [zeros, flat(indices), flat(gradient)], { reduction: attributeOf.string('add') });
  return [write.node('Reshape', [scattered, write.ints(dims)])];
};

/** Indices with the last axis fastest; a node that counts them columns first (storage_order 1) is run once more. */
function rowMajorIndices(step: BackwardStep, x: Value): Value {
  const { node, write } = step;
  if (intAttribute(node, 'storage_order', 0) === 0) return step.output(1);
  const attributes = Object.fromEntries([...node.attributes].filter(([name]) => name !== 'storage_order'));
  return write.nodes('MaxPool', [x], attributes, 2)[1] as Value;
}

/** Elements of x that each window averages over, as 1 / count: [1, 1, ...output]. */
function shares(node: Node, geometry: ConvGeometry): Float32Array {
  const { kernel, strides, dilations, padsBegin, input, output } = geometry;
  const countsPads = intAttribute(node, 'count_include_pad', 0) !== 0;
  const given = intsAttribute(node, 'pads', undefined);
  const counts = output.map((size, axis) =>
    Array.from({ length: size }, (_, at) => {
      const begin = padsBegin[axis] ?? 0;
      const end = given?.[axis + output.length] ?? Math.max(0, geometry.padsEnd[axis] ?? 0);
      const [low, high] = countsPads ? [-begin, (input[axis] ?? 0) + end] : [0, input[axis] ?? 0];
      const first = at * (strides[axis] ?? 1) - begin;
      const places = Array.from({ length: kernel[axis] ?? 1 }, (_, tap) => first + tap * (dilations[axis] ?? 1));
      return places.filter((place) => place >= low && place < high).length;
    }),
  );
  const all = counts.reduce<number[]>((left, axis) => left.flatMap((count) => axis.map((each) => count * each)), [1]);
  return Float32Array.from(all, (count) => 1 / count);
}

const averagePool: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const geometry = poolGeometry(step);
  const { kernel, output } = geometry;
  if (isTiling(geometry)) return [spread(write, write.node('Mul', [gradient, write.float(1 / elementCount(kernel))]), geometry)];
  const share = write.constant(float32Tensor([1, 1, ...output], shares(node, geometry)));
  return [windowSums(step, write.node('Mul', [gradient, share]), geometry)];
};

/** The sum over all windows that an element lies in, for each element of x. */
export const intoWindows = (step: BackwardStep, value: Value): Value => windowSums(step, value, poolGeometry(step));

function windowSums({ write }: BackwardStep, value: Value, geometry: ConvGeometry): Value {
  const { batch, channels, kernel, strides, dilations, output } = geometry;
  const single = write.node('Reshape', [value, write.ints([batch * channels, 1, ...output])]);
  const ones = write.constant(float32Tensor([1, 1, ...kernel], new Float32Array(elementCount(kernel)).fill(1)));
  const whole = write.node('ConvTranspose', [single, ones], {
    strides: attributeOf.ints(strides),
    dilations: attributeOf.ints(dilations),
  });
  return cutOut(write, whole, geometry);
}

/** Each value over its whole window. */
function spread(write: GraphWriter, value: Value, { batch, channels, output, kernel, input }: ConvGeometry): Value {
  const apart = write.node('Reshape', [value, write.ints([batch, channels, ...output.flatMap((size) => [size, 1])])]);
  const wide = output.flatMap((size, axis) => [size, kernel[axis] ?? 1]);
  const repeated = write.node('Expand', [apart, write.ints([batch, channels, ...wide])]);
  return write.node('Reshape', [repeated, write.ints([batch, channels, ...input])]);
}

/** x out of everything that the windows reach. */
function cutOut(write: GraphWriter, value: Value, { batch, channels, input, padsBegin, padsEnd }: ConvGeometry): Value {
  const negated = (pads: readonly number[]): number[] => pads.map((size) => -size);
  const cut = write.node('Pad', [value, write.ints([0, 0, ...negated(padsBegin), 0, 0, ...negated(padsEnd)])]);
  return write.node('Reshape', [cut, write.ints([batch, channels, ...input])]);
}

const globalAveragePool: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const dims = step.shape(node.inputs[0]);
  const share = write.node('Mul', [gradient, write.float(1 / elementCount(dims.slice(2)))]);
  return [write.node('Expand', [share, write.ints(dims)])];
};

/** Places that tie share the gradient. */
const globalMaxPool: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!gradient || !x || !y) return [];
  const hits = write.node('Cast', [write.node('Equal', [x, y])], { to: attributeOf.int(1) });
  const axes = write.ints(
    step
      .shape(x)
      .slice(2)
      .map((_, axis) => axis + 2),
  );
  const count = write.node('ReduceSum', [hits, axes], { keepdims: attributeOf.int(1) });
  return [write.node('Mul', [hits, write.node('Div', [gradient, count])])];
};

export const poolingRules = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: globalAveragePool,
  GlobalMaxPool: globalMaxPool,
} as const satisfies Record<string, GradientRule>;
