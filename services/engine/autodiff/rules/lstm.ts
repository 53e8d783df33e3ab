/** The gradient of LSTM. */
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';
import type { GradientRule } from '../gradient-rule.js';
import { type Direction, type DirectionGradients, loopOverTime, recurrentGradients, weightGradients } from '../recurrence.js';
import { unrolledLstm } from './lstm-unrolled.js';

const GATES = 4;
const transB = { transB: attributeOf.int(1) };

/**
 * The runtime's own kernel ran forward and left every h_t: with them the gates of all steps are products, not a loop.
 *   (i, o, f, g) = X W^T + H' R^T + b, H' the h of the step before; c_t = f c_{t-1} + i g; h_t = o tanh c_t
 * (Hochreiter and Schmidhuber 1997, gate order of ONNX LSTM). Backwards in time
 *   dh = dY + dh_next, dc = dh o (1 - tanh^2 c) + dc_next, dc_prev = dc f, dh_prev = dG R,
 *   dG = (dc g i', dh tanh c o', dc c_prev f', dc i g'), s' = s (1 - s) for the sigmoids, 1 - g^2 for tanh;
 * everything that is not dh or dc is known before the loop. (dW, dR, db) = dG^T (X, H', 1), one product, and dX = dG W
 * after it.
 */
function recomputedLstm(direction: Direction): DirectionGradients {
  const { write, steps, batch, hidden, r, dy, dLast, dLastCell, backwards } = direction;
  const joined = joinedInputs(direction);
  const gates = gateValues(direction, joined);
  const slopes = gateSlopes(direction, gates);
  const loop = {
    ...{ states: [dLast, dLastCell], steps, batch, hidden, fromEnd: !backwards },
    sequences: [dy, slopes.cell, slopes.i, slopes.o, slopes.f, slopes.g, gates.f],
    widths: Array.from({ length: 7 }, () => hidden),
  };
  const { states, kept } = loopOverTime(write, loop, (inner, [dhNext, dcNext], parts) => {
    const [dyNow, cell, i, o, f, g, kept] = parts as [Value, Value, Value, Value, Value, Value, Value];
    const dh = inner.node('Add', [dyNow, dhNext as Value]);
    const dc = inner.node('Add', [product(inner, dh, cell), dcNext as Value]);
    const all = [product(inner, dc, i), product(inner, dh, o), product(inner, dc, f), product(inner, dc, g)];
    const dGates = inner.node('Concat', all, { axis: attributeOf.int(1) });
    return { states: [inner.node('MatMul', [dGates, r]), product(inner, dc, kept)], kept: [dGates] };
  });
  const dGates = write.node('Reshape', [kept[0] as Value, write.ints([steps * batch, GATES * hidden])]);
  const { dw, dr, db } = weightGradients(write, { joined, dGates }, direction);
  return { dInput: dGates, dw, dr, dwb: db, drb: db, dFirst: states[0] as Value, dFirstCell: states[1] as Value };
}

/** (X, H', 1) as [T B, I + H + 1]. */
function joinedInputs({ write, steps, batch, hidden, x, previous }: Direction): Value {
  const rows = steps * batch;
  const h = write.node('Reshape', [previous, write.ints([rows, hidden])]);
  const ones = write.constant(float32Tensor([rows, 1], new Float32Array(rows).fill(1)));
  return write.node('Concat', [x, h, ones], { axis: attributeOf.int(1) });
}

interface Gates {
  readonly i: Value;
  readonly o: Value;
  readonly f: Value;
  readonly g: Value;
}

/** [T, B, H] each. One product per gate: a product of all gates would have to be copied apart. */
function gateValues({ write, steps, batch, hidden, w, r, wb, rb }: Direction, joined: Value): Gates {
  const bias = write.node('Reshape', [write.node('Add', [wb, rb]), write.ints([GATES * hidden, 1])]);
  const weights = write.node('Concat', [w, r, bias], { axis: attributeOf.int(1) });
  const sizes = write.ints([hidden, hidden, hidden, hidden]);
  const [i, o, f, g] = write.nodes('Split', [weights, sizes], { axis: attributeOf.int(0) }, GATES) as [Value, Value, Value, Value];
  const gate = (activation: 'Sigmoid' | 'Tanh', rows: Value): Value => {
    const sum = write.microsoft('FusedMatMul', [joined, rows], transB);
    return write.node(activation, [write.node('Reshape', [sum, write.ints([steps, batch, hidden])])]);
  };
  return { i: gate('Sigmoid', i), o: gate('Sigmoid', o), f: gate('Sigmoid', f), g: gate('Tanh', g) };
}

/** f_t c_{t-1} of each step, [T, B, H]: the one thing that needs a loop forward. */
function keptCells({ write, steps, batch, hidden, firstCell, backwards }: Direction, f: Value, entering: Value): Value {
  const loop = { states: [firstCell], steps, batch, hidden, fromEnd: backwards, sequences: [f, entering], widths: [hidden, hidden] };
  const { kept } = loopOverTime(write, loop, (inner, [cell], [fNow, enteringNow]) => {
    const keptCell = inner.node('Mul', [fNow as Value, cell as Value]);
    return { states: [inner.node('Add', [keptCell, enteringNow as Value])], kept: [keptCell] };
  });
  return kept[0] as Value;
}

/**
 * dG by dc, or by dh of the output gate, and dc by dh, [T, B, H] each. With e = i g, k = f c_prev, t = tanh(e + k), h = o t:
 *   g i' = e - e i, t o' = h - h o, c_prev f' = k - k f, i g' = i - e g, o (1 - t^2) = o - t h.
 */
function gateSlopes(direction: Direction, { i, o, f, g }: Gates): Gates & { readonly cell: Value } {
  const { write, y } = direction;
  const less = (value: Value, left: Value, right: Value): Value => write.node('Sub', [value, product(write, left, right)]);
  const entering = product(write, i, g);
  const keptCell = keptCells(direction, f, entering);
  const tanh = write.node('Tanh', [write.node('Add', [entering, keptCell])]);
  return {
    ...{ i: less(entering, entering, i), o: less(y, y, o), f: less(keptCell, keptCell, f), g: less(i, entering, g) },
    cell: less(o, tanh, y),
  };
}

const product = (write: GraphWriter, left: Value, right: Value): Value => write.node('Mul', [left, right]);

/** Steps up to which the layer is written out: thirty nodes each, which the runtime has to load. */
const UNROLLED_LSTM = 128;

export const lstm: GradientRule = (step) =>
  recurrentGradients(step, GATES, (direction) => (direction.steps <= UNROLLED_LSTM ? unrolledLstm : recomputedLstm)(direction));
