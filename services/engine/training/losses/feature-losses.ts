/** Losses between intermediate values of a student and its teacher. */
import { attributeOf, type GraphWriter, type Value } from '../../ir/index.js';

/** A value with its sizes for one batch: [N, C, ...] for maps, [N, ..., C] for sequences. */
export interface Feature {
  readonly value: Value;
  readonly dims: readonly number[];
}

const EPSILON = 1e-8;
const kept = { keepdims: attributeOf.int(1) };
const scalar = { keepdims: attributeOf.int(0) };

/** Rows of a matrix divided by their norm. */
function unitRows(write: GraphWriter, rows: Value): Value {
  const squares = write.node('ReduceSum', [write.node('Mul', [rows, rows]), write.ints([-1])], kept);
  return write.node('Div', [rows, write.node('Sqrt', [write.node('Add', [squares, write.float(EPSILON)])])]);
}

function asRows(write: GraphWriter, { value, dims }: Feature): Value {
  return write.node('Reshape', [value, write.ints([dims[0] ?? 1, -1])]);
}

function meanSquares(write: GraphWriter, left: Value, right: Value): Value {
  const difference = write.node('Sub', [left, right]);
  return write.node('ReduceMean', [write.node('Mul', [difference, difference])], scalar);
}

/** AT = mean (A_s / ||A_s|| - A_t / ||A_t||)^2, A = sum_c F_c^2 (Zagoruyko and Komodakis, 2017): any widths, equal spatial sizes. */
export function attentionTransfer(write: GraphWriter, student: Feature, teacher: Feature): Value {
  const map = ({ value, dims }: Feature): Value => {
    const energy = write.node('ReduceSum', [write.node('Mul', [value, value]), write.ints([1])], kept);
    return unitRows(write, asRows(write, { value: energy, dims }));
  };
  return meanSquares(write, map(student), map(teacher));
}

/** SP = ||G_s - G_t||_F^2 / N^2, G = F F^T with rows of unit norm (Tung and Mori, Similarity-Preserving Distillation, 2019). */
export function similarityPreserving(write: GraphWriter, student: Feature, teacher: Feature): Value {
  const similarity = (feature: Feature): Value => {
    const rows = asRows(write, feature);
    return unitRows(write, write.node('MatMul', [rows, write.node('Transpose', [rows], { perm: attributeOf.ints([1, 0]) })]));
  };
  return meanSquares(write, similarity(student), similarity(teacher));
}

/** RKD by distances: Huber of psi_s - psi_t, psi_ij = ||f_i - f_j|| / mean (Park et al., Relational Knowledge Distillation, 2019). */
export function relationalDistances(write: GraphWriter, student: Feature, teacher: Feature): Value {
  const psi = (feature: Feature): Value => {
    const rows = asRows(write, feature);
    const products = write.node('MatMul', [rows, write.node('Transpose', [rows], { perm: attributeOf.ints([1, 0]) })]);
    const squares = write.node('ReduceSum', [write.node('Mul', [rows, rows]), write.ints([1])], kept);
    const across = write.node('Transpose', [squares], { perm: attributeOf.ints([1, 0]) });
    const squared = write.node('Sub', [write.node('Add', [squares, across]), write.node('Mul', [products, write.float(2)])]);
    const distances = write.node('Sqrt', [write.node('Add', [write.node('Relu', [squared]), write.float(EPSILON)])]);
    return write.node('Div', [distances, write.node('ReduceMean', [distances], scalar)]);
  };
  const error = write.node('Abs', [write.node('Sub', [psi(student), psi(teacher)])]);
  const bounded = write.node('Min', [error, write.float(1)]);
  const each = write.node('Mul', [bounded, write.node('Sub', [error, write.node('Mul', [bounded, write.float(0.5)])])]);
  return write.node('ReduceMean', [each], scalar);
}
