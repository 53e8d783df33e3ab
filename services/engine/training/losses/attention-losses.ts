/** Losses between the attention of two transformers (Wang et al., MiniLM, NeurIPS 2020; relation heads: MiniLMv2, ACL 2021). */
import { EngineError } from '../../engine-errors.js';
import { attributeOf, elementCount, type GraphWriter, type Value } from '../../ir/index.js';
import type { Feature } from './feature-losses.js';

const lastAxis = { axis: attributeOf.int(-1) };
/** Logarithm of what a mask made 0. */
const LEAST = 1e-12;

/** KL(p_t || p_s) of the last axis from logarithms, mean over the other axes. */
function divergence(write: GraphWriter, { teacher, student, rows }: { teacher: Value; student: Value; rows: number }): Value {
  const each = write.node('Mul', [write.node('Exp', [teacher]), write.node('Sub', [teacher, student])]);
  return write.node('Mul', [write.node('ReduceSum', [each], { keepdims: attributeOf.int(0) }), write.float(1 / rows)]);
}

/** mean over heads and queries of KL(A_t || A_s), A the probabilities [N, heads, queries, keys] that an attention weighs values with. */
export function attentionMaps(write: GraphWriter, student: Feature, teacher: Feature): Value {
  if (student.dims.join() !== teacher.dims.join()) {
    throw new EngineError(
      'recipe_invalid',
      `'attention-map' compares attentions of as many heads: the student's is [${student.dims}], the teacher's [${teacher.dims}]; 'value-relation' compares any.`,
    );
  }
  const logarithm = (value: Value): Value => write.node('Log', [write.node('Max', [value, write.float(LEAST)])]);
  const rows = elementCount(student.dims.slice(0, -1));
  return divergence(write, { teacher: logarithm(teacher.value), student: logarithm(student.value), rows });
}

/**
 * mean over heads and tokens of KL(R_t || R_s), R = softmax(V V^T / sqrt(d)), V [N, heads, tokens, d] or [N, tokens, d]. With
 * `heads`, what the heads hold is joined and divided anew, so that networks of other heads compare.
 */
export function valueRelations(write: GraphWriter, [student, teacher]: readonly [Feature, Feature], heads?: number): Value {
  const [own, other] = [inHeads(write, student, heads), inHeads(write, teacher, heads)];
  if (own.dims.slice(0, -1).join() !== other.dims.slice(0, -1).join()) {
    throw new EngineError(
      'recipe_invalid',
      `'value-relation' compares values of as many heads and tokens: the student's are [${student.dims}], the teacher's [${teacher.dims}]; "heads" divides both anew.`,
    );
  }
  const relation = ({ value, dims }: Feature): Value => {
    const across = write.node('Transpose', [value], { perm: attributeOf.ints([0, 1, 3, 2]) });
    const products = write.node('Mul', [write.node('MatMul', [value, across]), write.float(1 / Math.sqrt(dims.at(-1) ?? 1))]);
    return write.node('LogSoftmax', [products], lastAxis);
  };
  return divergence(write, { teacher: relation(other), student: relation(own), rows: elementCount(own.dims.slice(0, -1)) });
}

/** [N, heads, tokens, d]. */
function inHeads(write: GraphWriter, { value, dims }: Feature, heads: number | undefined): Feature {
  const [samples = 1, ...rest] = dims;
  if (rest.length !== 2 && rest.length !== 3)
    throw new EngineError('recipe_invalid', `'value-relation' compares [N, heads, tokens, d] or [N, tokens, d]; this value is [${dims}].`);
  const [own = 1, tokens = 1, depth = 1] = rest.length === 2 ? [1, ...rest] : rest;
  const wanted = heads ?? own;
  const width = (own * depth) / wanted;
  if (!Number.isInteger(width))
    throw new EngineError('recipe_invalid', `The ${own * depth} numbers of a token of [${dims}] do not divide into ${wanted} "heads".`);
  const divided = [samples, wanted, tokens, width];
  if (wanted === own) return { value: write.node('Reshape', [value, write.ints(divided)]), dims: divided };
  const joined = own === 1 ? value : write.node('Transpose', [value], { perm: attributeOf.ints([0, 2, 1, 3]) });
  const split = write.node('Reshape', [joined, write.ints([samples, tokens, wanted, width])]);
  return { value: write.node('Transpose', [split], { perm: attributeOf.ints([0, 2, 1, 3]) }), dims: divided };
}
