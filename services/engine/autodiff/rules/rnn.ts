/** The gradient of RNN. */
import { attributeOf, type Value } from '../../ir/index.js';
import type { GradientRule } from '../gradient-rule.js';
import { type Direction, type DirectionGradients, loopOverTime, recurrentGradients } from '../recurrence.js';
import { columnSums } from '../sums.js';

/**
 * h_t = tanh(X W^T + h_{t-1} R^T + b) (Elman 1990). Backwards in time dh = dY + dh_next, dG = dh (1 - h^2), dh_prev = dG R;
 * dW = dG^T X, dR = dG^T H', db = sum dG (see lstm.ts).
 */
function rnnDirection({ write, steps, batch, hidden, x, r, y, previous, dy, dLast, backwards }: Direction): DirectionGradients {
  const slope = write.node('Sub', [write.float(1), write.node('Mul', [y, y])]);
  const loop = {
    ...{ states: [dLast], steps, batch, hidden, fromEnd: !backwards },
    sequences: [dy, slope],
    widths: [hidden, hidden],
  };
  const { states, kept } = loopOverTime(write, loop, (inner, [dhNext], [dyNow, slopeNow]) => {
    const dGates = inner.node('Mul', [inner.node('Add', [dyNow as Value, dhNext as Value]), slopeNow as Value]);
    return { states: [inner.node('MatMul', [dGates, r])], kept: [dGates] };
  });
  const rows = steps * batch;
  const flat = (value: Value): Value => write.node('Reshape', [value, write.ints([rows, hidden])]);
  const dGates = flat(kept[0] as Value);
  const sums = columnSums(write, dGates, [rows, hidden]);
  const transA = { transA: attributeOf.int(1) };
  return {
    dInput: dGates,
    dw: write.microsoft('FusedMatMul', [dGates, x], transA),
    dr: write.microsoft('FusedMatMul', [dGates, flat(previous)], transA),
    ...{ dwb: sums, drb: sums, dFirst: states[0] as Value },
  };
}

export const rnn: GradientRule = (step) => recurrentGradients(step, 1, rnnDirection);
