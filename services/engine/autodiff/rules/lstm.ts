/** The gradient of LSTM. */
import { attributeOf, type GraphWriter, type Value } from '../../ir/index.js';
import type { GradientRule } from '../gradient-rule.js';
import { type Direction, type DirectionGradients, loopOverTime, recurrentGradients } from '../recurrence.js';
import { columnSums } from '../sums.js';

const GATES = 4;
const transA = { transA: attributeOf.int(1) };
const transB = { transB: attributeOf.int(1) };

/**
 * The runtime's own kernel ran forward and left every h_t: with them all gates of all steps are two products, not a loop.
 *   (i, o, f, g) = X W^T + H' R^T + b, H' the h of the step before; c_t = f c_{t-1} + i g; h_t = o tanh c_t
 * (Hochreiter and Schmidhuber 1997, gate order of ONNX LSTM). Backwards in time
 *   dh = dY + dh_next, dc = dh o (1 - tanh^2 c) + dc_next, dc_prev = dc f, dh_prev = dG R,
 *   dG = (dc g i', dh tanh c o', dc c_prev f', dc i g'), s' = s (1 - s) for the sigmoids, 1 - g^2 for tanh;
 * everything that is not dh or dc is known before the loop. dW = dG^T X, dR = dG^T H', db = sum dG, dX = dG W after it.
 */
function lstmDirection(direction: Direction): DirectionGradients {
  const { write, batch, hidden, x, w, r, previous, dy, dLast, dLastCell, backwards } = direction;
  const gates = gateValues(direction);
  const cells = cellStates(direction, gates);
  const mul = (left: Value, right: Value): Value => write.node('Mul', [left, right]);
  const tanh = write.node('Tanh', [cells.after]);
  const throughCell = mul(gates.o, complement(write, mul(tanh, tanh)));
  const slopes = write.node(
    'Concat',
    [
      mul(gates.g, logisticSlope(write, gates.i)),
      mul(tanh, logisticSlope(write, gates.o)),
      mul(cells.before, logisticSlope(write, gates.f)),
      mul(gates.i, complement(write, mul(gates.g, gates.g))),
    ],
    { axis: attributeOf.int(2) },
  );
  const loop = {
    ...{ states: [dLast, dLastCell], batch, hidden, fromEnd: !backwards },
    sequences: [dy, throughCell, slopes, gates.f],
    widths: [hidden, hidden, GATES * hidden, hidden],
  };
  const { states, kept } = loopOverTime(write, loop, (inner, [dhNext, dcNext], [dyNow, cellNow, slopesNow, fNow]) => {
    const dh = inner.node('Add', [dyNow as Value, dhNext as Value]);
    const dc = inner.node('Add', [inner.node('Mul', [dh, cellNow as Value]), dcNext as Value]);
    const dGates = inner.node('Mul', [inner.node('Concat', [dc, dh, dc, dc], { axis: attributeOf.int(1) }), slopesNow as Value]);
    return { states: [inner.node('MatMul', [dGates, r]), inner.node('Mul', [dc, fNow as Value])], kept: [dGates] };
  });
  const rows = direction.steps * batch;
  const flat = (value: Value, width: number): Value => write.node('Reshape', [value, write.ints([rows, width])]);
  const dGates = flat(kept[0] as Value, GATES * hidden);
  const sums = columnSums(write, dGates, [rows, GATES * hidden]);
  return {
    dx: write.node('MatMul', [dGates, w]),
    dw: write.microsoft('FusedMatMul', [dGates, x], transA),
    dr: write.microsoft('FusedMatMul', [dGates, flat(previous, hidden)], transA),
    ...{ dwb: sums, drb: sums, dFirst: states[0] as Value, dFirstCell: states[1] as Value },
  };
}

/** The cell before and after each step, [T, B, H] each: the one thing that needs a loop forward. */
function cellStates({ write, batch, hidden, firstCell, backwards }: Direction, { i, f, g }: Gates): { before: Value; after: Value } {
  const loop = {
    ...{ states: [firstCell], batch, hidden, fromEnd: backwards },
    sequences: [f, write.node('Mul', [i, g])],
    widths: [hidden, hidden],
  };
  const { kept } = loopOverTime(write, loop, (inner, [cell], [fNow, entering]) => {
    const after = inner.node('Add', [inner.node('Mul', [fNow as Value, cell as Value]), entering as Value]);
    return { states: [after], kept: [inner.node('Identity', [cell as Value]), inner.node('Identity', [after])] };
  });
  return { before: kept[0] as Value, after: kept[1] as Value };
}

interface Gates {
  readonly i: Value;
  readonly o: Value;
  readonly f: Value;
  readonly g: Value;
}

/** [T, B, H] each. */
function gateValues({ write, steps, batch, hidden, x, w, r, wb, rb, previous }: Direction): Gates {
  const rows = steps * batch;
  const fromInput = write.node('Gemm', [x, w, write.node('Add', [wb, rb])], transB);
  const h = write.node('Reshape', [previous, write.ints([rows, hidden])]);
  const all = write.node('Add', [fromInput, write.microsoft('FusedMatMul', [h, r], transB)]);
  const stacked = write.node('Reshape', [all, write.ints([steps, batch, GATES * hidden])]);
  const sizes = write.ints([hidden, hidden, hidden, hidden]);
  const [i, o, f, g] = write.nodes('Split', [stacked, sizes], { axis: attributeOf.int(2) }, GATES) as [Value, Value, Value, Value];
  const sigmoid = (value: Value): Value => write.node('Sigmoid', [value]);
  return { i: sigmoid(i), o: sigmoid(o), f: sigmoid(f), g: write.node('Tanh', [g]) };
}

const complement = (write: GraphWriter, value: Value): Value => write.node('Sub', [write.float(1), value]);
const logisticSlope = (write: GraphWriter, s: Value): Value => write.node('Mul', [s, complement(write, s)]);

export const lstm: GradientRule = (step) => recurrentGradients(step, GATES, lstmDirection);
