/** Losses of class scores: cross-entropy against labels, and distillation from the scores of a teacher. */
import { attributeOf, elementCount, type GraphWriter, type Value } from '../../ir/index.js';

/** Scores before the softmax, [N, ..., C]: classes are on the last axis. */
export interface ClassScores {
  readonly logits: Value;
  readonly dims: readonly number[];
}

const lastAxis = { axis: attributeOf.int(-1) };

/** Rows that a mean is taken over: everything but the classes. */
export function rowCount(dims: readonly number[]): number {
  return elementCount(dims.slice(0, -1));
}

/** sum(a b) / rows. */
function meanOverRows(write: GraphWriter, product: Value, rows: number): Value {
  return write.node('Mul', [write.node('ReduceSum', [product], { keepdims: attributeOf.int(0) }), write.float(1 / rows)]);
}

/** CE = -1/N sum_n sum_c q_nc log softmax(z_n)_c, with targets q that may be soft (labels mixed or smoothed). */
export function crossEntropy(write: GraphWriter, { logits, dims }: ClassScores, targets: Value): Value {
  const logarithms = write.node('LogSoftmax', [logits], lastAxis);
  return write.node('Neg', [meanOverRows(write, write.node('Mul', [targets, logarithms]), rowCount(dims))]);
}

/** z-scores per row before the softmax remove the mismatch of scale (Sun et al., Logit Standardization, 2024): (z - mean z) / std z. */
function standardized(write: GraphWriter, logits: Value): Value {
  const mean = write.node('ReduceMean', [logits, write.ints([-1])], { keepdims: attributeOf.int(1) });
  const centered = write.node('Sub', [logits, mean]);
  const variance = write.node('ReduceMean', [write.node('Mul', [centered, centered]), write.ints([-1])], { keepdims: attributeOf.int(1) });
  return write.node('Div', [centered, write.node('Sqrt', [write.node('Add', [variance, write.float(1e-7)])])]);
}

export interface KnowledgeDistillation {
  readonly temperature: number;
  readonly standardize: boolean;
}

/** KD = T^2 / N sum_n KL(softmax(t_n / T) || softmax(s_n / T)) (Hinton, Vinyals, Dean, 2015): T^2 keeps the gradient's size. */
export function knowledgeDistillation(
  write: GraphWriter,
  { logits, dims }: ClassScores,
  teacher: Value,
  { temperature, standardize }: KnowledgeDistillation,
): Value {
  const soften = (scores: Value): Value =>
    write.node(
      'LogSoftmax',
      [write.node('Mul', [standardize ? standardized(write, scores) : scores, write.float(1 / temperature)])],
      lastAxis,
    );
  return write.node('Mul', [divergence(write, soften(teacher), soften(logits), rowCount(dims)), write.float(temperature ** 2)]);
}

/** KL(p || q) = sum p (log p - log q), from logarithms, mean over rows. */
function divergence(write: GraphWriter, logP: Value, logQ: Value, rows: number): Value {
  return meanOverRows(write, write.node('Mul', [write.node('Exp', [logP]), write.node('Sub', [logP, logQ])]), rows);
}

export interface DecoupledDistillation {
  readonly temperature: number;
  readonly alpha: number;
  readonly beta: number;
}

/** Drives the scores of one class out of a softmax; exp(-1000) is 0 in float32. */
const MASKED = -1000;

/**
 * DKD = T^2 (alpha KL(b^T || b^S) + beta KL(p^T without target || p^S without target)), b = (p_target, 1 - p_target)
 * (Zhao et al., Decoupled Knowledge Distillation, CVPR 2022). `target` is one-hot: the labels, or the teacher's answer.
 */
export function decoupledDistillation(
  write: GraphWriter,
  { logits, dims }: ClassScores,
  { teacher, target }: { readonly teacher: Value; readonly target: Value },
  { temperature, alpha, beta }: DecoupledDistillation,
): Value {
  const scaled = (scores: Value): Value => write.node('Mul', [scores, write.float(1 / temperature)]);
  const ofTarget = (scores: Value): Value => {
    const chance = write.node('ReduceSum', [write.node('Mul', [write.node('Softmax', [scores], lastAxis), target]), write.ints([-1])], {
      keepdims: attributeOf.int(1),
    });
    const binary = write.node('Concat', [chance, write.node('Sub', [write.float(1), chance])], lastAxis);
    return write.node('Log', [write.node('Max', [binary, write.float(1e-7)])]);
  };
  const withoutTarget = (scores: Value): Value =>
    write.node('LogSoftmax', [write.node('Add', [scores, write.node('Mul', [target, write.float(MASKED)])])], lastAxis);
  const [t, s] = [scaled(teacher), scaled(logits)];
  const rows = rowCount(dims);
  const first = write.node('Mul', [divergence(write, ofTarget(t), ofTarget(s), rows), write.float(alpha * temperature ** 2)]);
  const second = write.node('Mul', [divergence(write, withoutTarget(t), withoutTarget(s), rows), write.float(beta * temperature ** 2)]);
  return write.node('Add', [first, second]);
}

/** BCE with logits z and targets q in [0, 1]: mean of max(z, 0) - z q + log(1 + exp(-|z|)). */
export function binaryCrossEntropy(write: GraphWriter, logits: Value, targets: Value): Value {
  const positive = write.node('Relu', [logits]);
  const tail = write.node('Log', [
    write.node('Add', [write.float(1), write.node('Exp', [write.node('Neg', [write.node('Abs', [logits])])])]),
  ]);
  const each = write.node('Add', [write.node('Sub', [positive, write.node('Mul', [logits, targets])]), tail]);
  return write.node('ReduceMean', [each], { keepdims: attributeOf.int(0) });
}
