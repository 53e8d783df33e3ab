/** Losses of values: regression, forecasting and images, against labels or against a teacher's outputs. */
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';

const scalar = { keepdims: attributeOf.int(0) };

export function meanSquaredError(write: GraphWriter, output: Value, target: Value): Value {
  const difference = write.node('Sub', [output, target]);
  return write.node('ReduceMean', [write.node('Mul', [difference, difference])], scalar);
}

export function meanAbsoluteError(write: GraphWriter, output: Value, target: Value): Value {
  return write.node('ReduceMean', [write.node('Abs', [write.node('Sub', [output, target])])], scalar);
}

/** Huber with threshold d: mean of e^2 / 2 for |e| <= d, d (|e| - d / 2) beyond; as m (|e| - m / 2) with m = min(|e|, d). */
export function huber(write: GraphWriter, output: Value, target: Value, delta: number): Value {
  const error = write.node('Abs', [write.node('Sub', [output, target])]);
  const bounded = write.node('Min', [error, write.float(delta)]);
  const half = write.node('Mul', [bounded, write.float(0.5)]);
  return write.node('ReduceMean', [write.node('Mul', [bounded, write.node('Sub', [error, half])])], scalar);
}

/** ||s - t||^2 / ||t||^2: what the student misses, in parts of what there is; comparable between outputs of different size. */
export function relativeSquaredError(write: GraphWriter, student: Value, teacher: Value): Value {
  const difference = write.node('Sub', [student, teacher]);
  const missed = write.node('ReduceSum', [write.node('Mul', [difference, difference])], scalar);
  const present = write.node('ReduceSum', [write.node('Mul', [teacher, teacher])], scalar);
  return write.node('Div', [missed, write.node('Add', [present, write.float(1e-12)])]);
}

/**
 * Pinball loss: mean of max(q e, (q - 1) e), e = label - forecast (Koenker and Bassett, Regression Quantiles, 1978), which the
 * q-quantile makes least. Forecasts have the `quantiles` on their last axis; of one quantile they may have the sizes of the labels.
 */
export function pinball(write: GraphWriter, forecast: Value, labels: Value, quantiles: readonly number[]): Value {
  const error = write.node('Sub', [labels, forecast]);
  const level = write.constant(float32Tensor([quantiles.length], quantiles));
  const each = write.node('Add', [write.node('Mul', [error, level]), write.node('Relu', [write.node('Neg', [error])])]);
  return write.node('ReduceMean', [each], scalar);
}
