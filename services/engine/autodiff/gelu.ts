/** Slopes of the gated linear units: x times a smooth step of x. */
import type { GraphWriter, Value } from '../ir/index.js';

const oneMinus = (write: GraphWriter, value: Value): Value => write.node('Sub', [write.float(1), value]);
const times = (write: GraphWriter, left: Value, right: Value | number): Value =>
  write.node('Mul', [left, typeof right === 'number' ? write.float(right) : right]);
const plus = (write: GraphWriter, left: Value, right: Value | number): Value =>
  write.node('Add', [left, typeof right === 'number' ? write.float(right) : right]);

/** phi(x) = exp(-x^2 / 2) / sqrt(2 pi). */
const normalDensity = (write: GraphWriter, x: Value): Value =>
  times(write, write.node('Exp', [times(write, times(write, x, x), -0.5)]), 1 / Math.sqrt(2 * Math.PI));

/** Gelu (Hendrycks and Gimpel 2016), x Phi(x): Phi(x) + x phi(x). */
export function erfGeluSlope(write: GraphWriter, x: Value): Value {
  const erf = write.node('Erf', [times(write, x, Math.SQRT1_2)]);
  return plus(write, times(write, plus(write, erf, 1), 0.5), times(write, x, normalDensity(write, x)));
}

/** x (1 + t) / 2 with t = tanh u, u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + t)/2 + x (1 - t^2) u' / 2. */
export function tanhGeluSlope(write: GraphWriter, x: Value): Value {
  const c = Math.sqrt(2 / Math.PI);
  const cubic = times(write, times(write, x, x), 0.044715);
  const u = times(write, times(write, x, plus(write, cubic, 1)), c);
  const du = times(write, plus(write, times(write, cubic, 3), 1), c);
  const t = write.node('Tanh', [u]);
  const curved = times(write, times(write, x, oneMinus(write, times(write, t, t))), du);
  return times(write, plus(write, plus(write, t, 1), curved), 0.5);
}

/** Swish x s(a x), s the logistic function: s + a x s (1 - s). */
export function swishSlope(write: GraphWriter, x: Value, a: number): Value {
  const scaled = times(write, x, a);
  const s = write.node('Sigmoid', [scaled]);
  return plus(write, s, times(write, times(write, scaled, s), oneMinus(write, s)));
}
