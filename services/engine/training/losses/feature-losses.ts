/** Losses between intermediate values of a student and its teacher. */
import { EngineError } from '../../engine-errors.js';
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';

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
  return meanHuber(write, psi(student), psi(teacher));
}

/**
 * RKD by angles: Huber of psi_s - psi_t, psi_ijk = cos of the angle at f_j between f_i and f_k (Park et al. 2019). With products G of
 * centered rows <f_i - f_j, f_k - f_j> = G_ik - G_ij - G_jk + G_jj, so that no differences of rows are stored.
 */
export function relationalAngles(write: GraphWriter, student: Feature, teacher: Feature): Value {
  const psi = (feature: Feature): Value => {
    const samples = feature.dims[0] ?? 1;
    requireRoom('relation-angles', samples ** 3);
    const rows = asRows(write, feature);
    const centered = write.node('Sub', [rows, write.node('ReduceMean', [rows, write.ints([0])], kept)]);
    const products = write.node('MatMul', [centered, write.node('Transpose', [centered], { perm: attributeOf.ints([1, 0]) })]);
    const diagonal = write.node('ReduceSum', [write.node('Mul', [centered, centered]), write.ints([1])], kept);
    const squared = write.node('Sub', [
      write.node('Add', [diagonal, write.node('Transpose', [diagonal], { perm: attributeOf.ints([1, 0]) })]),
      write.node('Mul', [products, write.float(2)]),
    ]);
    const lengths = write.node('Sqrt', [write.node('Add', [write.node('Relu', [squared]), write.float(EPSILON)])]);
    /** A sample has no direction to itself. */
    const others = Float32Array.from({ length: samples ** 2 }, (_, at) => (at % (samples + 1) === 0 ? 0 : 1));
    const inverse = write.node('Div', [write.constant(float32Tensor([samples, samples], others)), lengths]);
    const along = (value: Value, axis: number): Value => write.node('Unsqueeze', [value, write.ints([axis])]);
    /** [j, i, k]. */
    const between = write.node('Sub', [
      write.node('Add', [along(products, 0), along(diagonal, 2)]),
      write.node('Add', [along(products, 2), along(products, 1)]),
    ]);
    return write.node('Mul', [write.node('Mul', [between, along(inverse, 2)]), along(inverse, 1)]);
  };
  return meanHuber(write, psi(student), psi(teacher));
}

/** Mean of e^2 / 2 for |e| <= 1, |e| - 1 / 2 beyond. */
function meanHuber(write: GraphWriter, left: Value, right: Value): Value {
  const error = write.node('Abs', [write.node('Sub', [left, right])]);
  const bounded = write.node('Min', [error, write.float(1)]);
  const each = write.node('Mul', [bounded, write.node('Sub', [error, write.node('Mul', [bounded, write.float(0.5)])])]);
  return write.node('ReduceMean', [each], scalar);
}

/** Numbers of one intermediate result: 256 MiB. */
const ELEMENTS_MAX = 2 ** 26;

/** Throws EngineError `recipe_invalid` for a loss that would compare more numbers than fit. */
export function requireRoom(kind: string, elements: number): void {
  if (elements <= ELEMENTS_MAX) return;
  throw new EngineError(
    'recipe_invalid',
    `'${kind}' would compare ${elements.toExponential(1)} numbers per batch: take a smaller "batch_size", smaller pieces, or another loss.`,
  );
}
