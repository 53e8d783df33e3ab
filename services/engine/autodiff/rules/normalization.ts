/** Gradients of normalizations. x^ is the normalized x, t = g gamma. */
import { attributeOf, elementCount, float32Tensor, floatAttribute, type GraphWriter, intAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { reduced } from '../reduced.js';
import { channelSums, columnSums } from '../sums.js';

const mul = (write: GraphWriter, left: Value, right: Value): Value => write.node('Mul', [left, right]);
const sub = (write: GraphWriter, left: Value, right: Value): Value => write.node('Sub', [left, right]);

/** 1 / sqrt(variance + epsilon). */
function inverseDeviation(write: GraphWriter, variance: Value, epsilon: number): Value {
  return write.node('Reciprocal', [write.node('Sqrt', [write.node('Add', [variance, write.float(epsilon)])])]);
}

/** A vector of channels in the rank of [N, C, ...]. */
function perChannel(write: GraphWriter, vector: Value, dims: readonly number[]): Value {
  return write.node('Reshape', [vector, write.ints(dims.slice(1).map((size, axis) => (axis === 0 ? size : 1)))]);
}

interface BatchParts {
  readonly x: Value;
  readonly gamma: Value;
  readonly gradient: Value;
  readonly dims: readonly number[];
  readonly mean: Value;
  readonly inverse: Value;
}

/** dgamma = sum g x^ = (sum g x - mean sum g) / sqrt(var + e), dbeta = sum g. */
function batchSums(write: GraphWriter, { x, gradient, dims, mean, inverse }: BatchParts): { dgamma: Value; dbeta: Value } {
  const dbeta = channelSums(write, gradient, dims);
  const products = channelSums(write, mul(write, gradient, x), dims);
  return { dgamma: mul(write, inverse, sub(write, products, mul(write, mean, dbeta))), dbeta };
}

const batchNormalization: GradientRule = (step) =>
  intAttribute(step.node, 'training_mode', 0) !== 0 ? byBatchStatistics(step) : byFixedStatistics(step);

/** y = gamma (x - mean) / s + beta: dmean = -gamma / s dbeta, dvar = -gamma / (2 s^2) dgamma. */
const byFixedStatistics: GradientRule = (step) => {
  const { write } = step;
  const [x, gamma, , mean, variance] = step.node.inputs;
  const [gradient] = step.gradients;
  if (!x || !gamma || !mean || !variance || !gradient) return [];
  const inverse = inverseDeviation(write, variance, floatAttribute(step.node, 'epsilon', 1e-5));
  const dims = step.shape(x);
  const slope = mul(write, gamma, inverse);
  const sums = [1, 2, 3, 4].some((input) => step.wants(input)) ? batchSums(write, { x, gamma, gradient, dims, mean, inverse }) : undefined;
  const dMean = () => sums && write.node('Neg', [mul(write, slope, sums.dbeta)]);
  const dVariance = () => sums && mul(write, mul(write, slope, inverse), mul(write, sums.dgamma, write.float(-0.5)));
  return [
    step.wants(0) ? mul(write, gradient, perChannel(write, slope, dims)) : null,
    sums?.dgamma,
    sums?.dbeta,
    step.wants(3) ? dMean() : null,
    step.wants(4) ? dVariance() : null,
  ];
};

const byBatchStatistics: GradientRule = (step) => {
  const { node, write } = step;
  const [x, gamma] = node.inputs;
  const [given, ...ofStatistics] = step.gradients;
  if (!x || !gamma) return [];
  const dims = step.shape(x);
  const gradient = given ?? write.node('Expand', [write.float(0), write.ints(dims)]);
  const { mean, variance } = batchStatistics(step, x, gamma);
  const inverse = inverseDeviation(write, variance, floatAttribute(node, 'epsilon', 1e-5));
  const parts = { x, gamma, gradient, dims, mean, inverse };
  const sums = batchSums(write, parts);
  const momentum = floatAttribute(node, 'momentum', MOMENTUM);
  const [toMean, toVariance] = ofStatistics.map((each) => each && mul(write, each, write.float(1 - momentum)));
  const kept = ofStatistics.map((each, at) => (each && step.wants(3 + at) ? mul(write, each, write.float(momentum)) : null));
  return [step.wants(0) ? throughStatistics(write, { ...parts, toMean, toVariance }, sums) : null, sums.dgamma, sums.dbeta, ...kept];
};

const MOMENTUM = 0.9;

/** The outputs r = momentum r + (1 - momentum) b hold the statistics b of the batch when they keep nothing; else the node is run once more. */
function batchStatistics(step: BackwardStep, x: Value, gamma: Value): { mean: Value; variance: Value } {
  const { node, write } = step;
  if (floatAttribute(node, 'momentum', MOMENTUM) === 0) return { mean: step.output(1), variance: step.output(2) };
  const attributes = { ...Object.fromEntries(node.attributes), momentum: attributeOf.float(0) };
  const [, mean, variance] = write.nodes('BatchNormalization', [x, gamma, ...node.inputs.slice(2)], attributes, 3);
  return { mean: mean as Value, variance: variance as Value };
}

interface ThroughStatistics extends BatchParts {
  /** dL of the mean and the variance of the batch themselves, where somebody reads them. */
  readonly toMean: Value | null | undefined;
  readonly toVariance: Value | null | undefined;
}

/**
 * dx = gamma / s (g - dbeta / m - x^ dgamma / m), m values per channel, s the deviation (Ioffe and Szegedy 2015): per channel
 * a g + b x + c with a = gamma / s, b = -a dgamma / (m s), c = -a dbeta / m - b mean. b x + c is one pass as a
 * BatchNormalization with fixed statistics. Gradients u of the mean and v of the variance add 2 v / m to b and u / m to c.
 */
function throughStatistics(write: GraphWriter, parts: ThroughStatistics, { dgamma, dbeta }: { dgamma: Value; dbeta: Value }): Value {
  const { x, gamma, gradient, dims, mean, inverse, toMean, toVariance } = parts;
  const count = elementCount(dims) / (dims[1] ?? 1);
  const share = write.float(-1 / count);
  const add = (sum: Value, more: Value | null | undefined, factor: number): Value =>
    more ? write.node('Add', [sum, mul(write, more, write.float(factor / count))]) : sum;
  const a = mul(write, gamma, inverse);
  const b = add(mul(write, mul(write, a, inverse), mul(write, dgamma, share)), toVariance, 2);
  const c = sub(write, add(mul(write, a, mul(write, dbeta, share)), toMean, 1), mul(write, b, mean));
  const channels = dims[1] ?? 1;
  const fixed = (value: number): Value => write.constant(float32Tensor([channels], new Float32Array(channels).fill(value)));
  const affine = write.node('BatchNormalization', [x, b, c, fixed(0), fixed(1)], { epsilon: attributeOf.float(0) });
  return write.node('Add', [mul(write, gradient, perChannel(write, a, dims)), affine]);
}

/** Rows [R, D] that are normalized each on its own. */
interface Rows {
  readonly x: Value;
  readonly t: Value;
  /** False for root mean square normalization, which does not subtract the mean. */
  readonly centered: boolean;
  readonly epsilon: number;
  /** Mean and inverse deviation per row where the operator gives them. */
  readonly known?: { readonly mean: Value; readonly inverse: Value };
}

const rowMean = (write: GraphWriter, value: Value): Value => reduced(write, 'ReduceMean', value, [-1]);

/**
 * dx = (t - mean t - x^ mean(t x^)) / s; without the mean of t where x is not centered (Ba, Kiros, Hinton 2016; Zhang and Sennrich 2019).
 */
function rowGradient(write: GraphWriter, { x, t, centered, epsilon, known }: Rows): RowGradient {
  const mean = known?.mean ?? (centered ? rowMean(write, x) : undefined);
  const shifted = centered && mean ? sub(write, x, mean) : x;
  const inverse = known?.inverse ?? inverseDeviation(write, rowMean(write, mul(write, shifted, shifted)), epsilon);
  const normalized = mul(write, shifted, inverse);
  const along = mul(write, normalized, rowMean(write, mul(write, t, normalized)));
  const rest = sub(write, centered ? sub(write, t, rowMean(write, t)) : t, along);
  return { dx: mul(write, rest, inverse), normalized, inverse };
}

interface RowGradient {
  readonly dx: Value;
  readonly normalized: Value;
  readonly inverse: Value;
}

/** Statistics that are read themselves: d mean / dx = 1 / D, d (1 / s) / dx = -x^ / (s^2 D). */
function throughRowStatistics(step: BackwardStep, { dx, normalized, inverse }: RowGradient, [rows = 1, width = 1]: number[]): Value {
  const { write, node } = step;
  const isCentered = node.opType === 'LayerNormalization';
  const [toMean, toInverse] = isCentered ? step.gradients.slice(1) : [null, step.gradients[1]];
  const column = (value: Value): Value => mul(write, write.node('Reshape', [value, write.ints([rows, 1])]), write.float(1 / width));
  let sum = dx;
  if (toMean) sum = write.node('Add', [sum, column(toMean)]);
  if (toInverse) sum = sub(write, sum, mul(write, mul(write, column(toInverse), mul(write, inverse, inverse)), normalized));
  return sum;
}

/** Layer and root mean square normalization: rows are the axes from `axis` on. */
const byRows =
  (centered: boolean): GradientRule =>
  (step) => {
    const { node, write } = step;
    const [x, gamma] = node.inputs;
    if (!x || !gamma) return [];
    const dims = step.shape(x);
    const gradient = step.gradients[0] ?? write.node('Expand', [write.float(0), write.ints(dims)]);
    const axis = intAttribute(node, 'axis', -1);
    const first = axis < 0 ? axis + dims.length : axis;
    const sizes = [elementCount(dims.slice(0, first)), elementCount(dims.slice(first))];
    const asRows = (value: Value): Value => write.node('Reshape', [value, write.ints(sizes)]);
    const scale = write.node('Reshape', [write.node('Expand', [gamma, write.ints(dims.slice(first))]), write.ints([sizes[1] ?? 1])]);
    const column = (value: Value): Value => write.node('Reshape', [value, write.ints([sizes[0] ?? 1, 1])]);
    const known =
      centered && node.opType === 'LayerNormalization' ? { mean: column(step.output(1)), inverse: column(step.output(2)) } : undefined;
    const g = asRows(gradient);
    const epsilon = floatAttribute(node, 'epsilon', 1e-5);
    const found = rowGradient(write, {
      x: asRows(x),
      t: mul(write, g, scale),
      centered,
      epsilon,
      ...(known ? { known } : {}),
    });
    const toVector = (value: Value, input: number): Value => {
      const sums = columnSums(write, value, sizes);
      const shape = step.shape(node.inputs[input]);
      return shape.length === 1 ? sums : write.node('Reshape', [sums, write.ints(shape)]);
    };
    return [
      write.node('Reshape', [throughRowStatistics(step, found, sizes), write.ints(dims)]),
      step.wants(1) ? toVector(mul(write, g, found.normalized), 1) : null,
      step.wants(2) ? toVector(g, 2) : null,
    ];
  };

/** Instance and group normalization: rows are the positions of `groups` groups of channels. */
const byGroups =
  (groupsOf: (step: BackwardStep, channels: number) => number): GradientRule =>
  (step) => {
    const { node, write } = step;
    const [x, gamma] = node.inputs;
    const [gradient] = step.gradients;
    if (!x || !gamma || !gradient) return [];
    const dims = step.shape(x);
    const channels = dims[1] ?? 1;
    const scales = elementCount(step.shape(gamma));
    const rows = (dims[0] ?? 1) * groupsOf(step, channels);
    /** Scales of operator set 18 are one per group. */
    const wide = (vector: Value): Value =>
      scales === channels
        ? vector
        : write.node('Reshape', [
            write.node('Expand', [write.node('Reshape', [vector, write.ints([scales, 1])]), write.ints([scales, channels / scales])]),
            write.ints([channels]),
          ]);
    const narrow = (vector: Value): Value =>
      scales === channels
        ? vector
        : write.node('ReduceSum', [write.node('Reshape', [vector, write.ints([scales, channels / scales])]), write.ints([1])], {
            keepdims: attributeOf.int(0),
          });
    const asRows = (value: Value): Value => write.node('Reshape', [value, write.ints([rows, -1])]);
    const t = mul(write, gradient, perChannel(write, wide(gamma), dims));
    const { dx, normalized } = rowGradient(write, {
      ...{ x: asRows(x), t: asRows(t), centered: true },
      epsilon: floatAttribute(node, 'epsilon', 1e-5),
    });
    const products = mul(write, gradient, write.node('Reshape', [normalized, write.ints(dims)]));
    return [
      write.node('Reshape', [dx, write.ints(dims)]),
      step.wants(1) ? narrow(channelSums(write, products, dims)) : null,
      step.wants(2) ? narrow(channelSums(write, gradient, dims)) : null,
    ];
  };

export const normalizationRules = {
  BatchNormalization: batchNormalization,
  LayerNormalization: byRows(true),
  RMSNormalization: byRows(false),
  SimplifiedLayerNormalization: byRows(false),
  InstanceNormalization: byGroups((_step, channels) => channels),
  GroupNormalization: byGroups((step) => intAttribute(step.node, 'num_groups', 1)),
} as const satisfies Record<string, GradientRule>;
