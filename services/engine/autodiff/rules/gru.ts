/** The gradient of GRU. */
import { attributeOf, type GraphWriter, intAttribute, type Value } from '../../ir/index.js';
import type { GradientRule } from '../gradient-rule.js';
import { type Direction, type DirectionGradients, loopOverTime, recurrentGradients } from '../recurrence.js';
import { columnSums } from '../sums.js';

const GATES = 3;
const transA = { transA: attributeOf.int(1) };
const transB = { transB: attributeOf.int(1) };

/** Gates of all steps, [T, B, H] each: every h_t is known from the forward run (see lstm.ts). */
interface Gates {
  readonly z: Value;
  readonly r: Value;
  /** The candidate, h~. */
  readonly candidate: Value;
  /** H' R_h^T + b, which the reset gate multiplies; only with linear_before_reset. */
  readonly recurrent: Value | null;
}

type Parts = Direction & { readonly beforeReset: boolean };

/** Rows of the weights of one gate. */
function gateRows({ write, hidden }: Direction, value: Value, gate: number): Value {
  return write.node('Slice', [value, write.ints([gate * hidden]), write.ints([(gate + 1) * hidden]), write.ints([0])]);
}

/**
 *   z = s(X W_z^T + H' R_z^T + b), r alike; h~ = tanh(X W_h^T + b + (r H') R_h^T + b'), or, with linear_before_reset,
 *   h~ = tanh(X W_h^T + b + r (H' R_h^T + b')); h = (1 - z) h~ + z H' (Cho et al. 2014, gate order of ONNX GRU).
 */
function gateValues(direction: Parts): Gates {
  const { write, steps, batch, hidden, x, w, r, wb, rb, previous, beforeReset } = direction;
  const rows = steps * batch;
  const h = write.node('Reshape', [previous, write.ints([rows, hidden])]);
  const split = (value: Value): [Value, Value, Value] =>
    write.nodes('Split', [value, write.ints([hidden, hidden, hidden])], { axis: attributeOf.int(1) }, GATES) as [Value, Value, Value];
  const fromInput = split(write.node('Gemm', [x, w, wb], transB));
  const fromState = split(write.node('Gemm', [h, r, rb], transB));
  const gate = (at: 0 | 1): Value => write.node('Sigmoid', [write.node('Add', [fromInput[at], fromState[at]])]);
  const [z, reset] = [gate(0), gate(1)];
  const afterReset = () =>
    write.node('Gemm', [write.node('Mul', [reset, h]), gateRows(direction, r, 2), gateRows(direction, rb, 2)], transB);
  const inner = beforeReset ? write.node('Mul', [reset, fromState[2]]) : afterReset();
  const candidate = write.node('Tanh', [write.node('Add', [fromInput[2], inner])]);
  const stacked = (value: Value): Value => write.node('Reshape', [value, write.ints([steps, batch, hidden])]);
  return {
    z: stacked(z),
    r: stacked(reset),
    candidate: stacked(candidate),
    recurrent: beforeReset ? stacked(fromState[2]) : null,
  };
}

const complement = (write: GraphWriter, value: Value): Value => write.node('Sub', [write.float(1), value]);

/** Gradients before the activations, [T, B, H] each: `dv` of what R_h makes. */
interface GateGradients {
  readonly dz: Value;
  readonly dr: Value;
  readonly dh: Value;
  readonly dv: Value;
  readonly dFirst: Value;
}

/**
 * Backwards in time, dh = dY + dh_next: dz = dh (H' - h~) z (1 - z), dh~ = dh (1 - z)(1 - h~^2);
 * with linear_before_reset dv = dh~ r, dr = dh~ v r (1 - r), dh_prev = dh z + (dz, dr, dv) R: all of them dh times what is known.
 */
function beforeResetLoop(direction: Parts, gates: Gates, slopes: { z: Value; candidate: Value }): GateGradients {
  const { write, steps, batch, hidden, r, dy, dLast, backwards } = direction;
  const mul = (left: Value, right: Value): Value => write.node('Mul', [left, right]);
  const resetSlope = mul(mul(slopes.candidate, gates.recurrent as Value), mul(gates.r, complement(write, gates.r)));
  const stateSlope = mul(slopes.candidate, gates.r);
  const all = write.node('Concat', [slopes.z, resetSlope, stateSlope], { axis: attributeOf.int(2) });
  const loop = {
    ...{ states: [dLast], steps, batch, hidden, fromEnd: !backwards },
    sequences: [dy, all, gates.z],
    widths: [hidden, GATES * hidden, hidden],
  };
  const { states, kept } = loopOverTime(write, loop, (inner, [next], [dyNow, slopesNow, zNow]) => {
    const dh = inner.node('Add', [dyNow as Value, next as Value]);
    const back = inner.node('MatMul', [
      inner.node('Mul', [inner.node('Concat', [dh, dh, dh], { axis: attributeOf.int(1) }), slopesNow as Value]),
      r,
    ]);
    return { states: [inner.node('Add', [back, inner.node('Mul', [dh, zNow as Value])])], kept: [inner.node('Identity', [dh])] };
  });
  const dh = kept[0] as Value;
  return {
    ...{ dz: mul(dh, slopes.z), dr: mul(dh, resetSlope), dh: mul(dh, slopes.candidate), dv: mul(dh, stateSlope) },
    dFirst: states[0] as Value,
  };
}

/** Without: d(r H') = dh~ R_h, dr = d(r H') H' r (1 - r), dh_prev = dh z + d(r H') r + (dz, dr) R_zr. */
function afterResetLoop(direction: Parts, gates: Gates, slopes: { z: Value; candidate: Value }): GateGradients {
  const { write, steps, batch, hidden, r, dy, dLast, previous, backwards } = direction;
  const mul = (left: Value, right: Value): Value => write.node('Mul', [left, right]);
  const resetSlope = mul(previous, mul(gates.r, complement(write, gates.r)));
  const [upper, lower] = write.nodes('Split', [r, write.ints([2 * hidden, hidden])], { axis: attributeOf.int(0) }, 2) as [Value, Value];
  const loop = {
    ...{ states: [dLast], steps, batch, hidden, fromEnd: !backwards },
    sequences: [dy, slopes.z, slopes.candidate, resetSlope, gates.r, gates.z],
    widths: Array.from({ length: 6 }, () => hidden),
  };
  const { states, kept } = loopOverTime(write, loop, (inner, [next], parts) => {
    const [dyNow, zSlope, candidateSlope, rSlope, rNow, zNow] = parts as [Value, Value, Value, Value, Value, Value];
    const times = (left: Value, right: Value): Value => inner.node('Mul', [left, right]);
    const dh = inner.node('Add', [dyNow, next as Value]);
    const masked = inner.node('MatMul', [times(dh, candidateSlope), lower]);
    const dr = times(masked, rSlope);
    const gated = inner.node('MatMul', [inner.node('Concat', [times(dh, zSlope), dr], { axis: attributeOf.int(1) }), upper]);
    return {
      states: [inner.node('Sum', [gated, times(dh, zNow), times(masked, rNow)])],
      kept: [inner.node('Identity', [dh]), inner.node('Identity', [dr])],
    };
  });
  const [dh, dr] = kept as [Value, Value];
  const dCandidate = mul(dh, slopes.candidate);
  return { dz: mul(dh, slopes.z), dr, dh: dCandidate, dv: dCandidate, dFirst: states[0] as Value };
}

function gruDirection(direction: Parts): DirectionGradients {
  const { write, steps, batch, hidden, x, previous, beforeReset } = direction;
  const gates = gateValues(direction);
  const mul = (left: Value, right: Value): Value => write.node('Mul', [left, right]);
  const slopes = {
    z: mul(write.node('Sub', [previous, gates.candidate]), mul(gates.z, complement(write, gates.z))),
    candidate: mul(complement(write, gates.z), complement(write, mul(gates.candidate, gates.candidate))),
  };
  const found = beforeReset ? beforeResetLoop(direction, gates, slopes) : afterResetLoop(direction, gates, slopes);
  const rows = steps * batch;
  const flat = (value: Value, width: number): Value => write.node('Reshape', [value, write.ints([rows, width])]);
  const joined = (...parts: Value[]): Value => flat(write.node('Concat', parts, { axis: attributeOf.int(2) }), parts.length * hidden);
  const product = (left: Value, right: Value): Value => write.microsoft('FusedMatMul', [left, right], transA);
  const ofInput = joined(found.dz, found.dr, found.dh);
  const ofState = joined(found.dz, found.dr, found.dv);
  const h = flat(previous, hidden);
  const candidateRows = beforeReset ? h : flat(mul(gates.r, previous), hidden);
  const upper = product(joined(found.dz, found.dr), h);
  const lower = product(flat(found.dv, hidden), candidateRows);
  return {
    dInput: ofInput,
    dw: product(ofInput, x),
    dr: write.node('Concat', [upper, lower], { axis: attributeOf.int(0) }),
    dwb: columnSums(write, ofInput, [rows, GATES * hidden]),
    drb: columnSums(write, ofState, [rows, GATES * hidden]),
    dFirst: found.dFirst,
  };
}

export const gru: GradientRule = (step) => {
  const beforeReset = intAttribute(step.node, 'linear_before_reset', 0) !== 0;
  return recurrentGradients(step, GATES, (direction) => gruDirection({ ...direction, beforeReset }));
};
