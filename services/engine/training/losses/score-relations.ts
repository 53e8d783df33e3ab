/** Distillation by correlations: a student of another size keeps the order of the scores, not their values. */
import { attributeOf, type GraphWriter, type Value } from '../../ir/index.js';
import { type ClassScores, rowCount } from './class-losses.js';

export interface RelationDistillation {
  readonly temperature: number;
  /** Weight of the relations between the classes of one sample. */
  readonly inter: number;
  /** Weight of the relations between the samples of one class. */
  readonly intra: number;
}

/** Squares of probabilities: a class that no sample has counts as uncorrelated. */
const EPSILON = 1e-8;
const kept = { keepdims: attributeOf.int(1) };

/**
 * DIST = T^2 (inter mean over rows of (1 - r) + intra mean over columns of (1 - r)), r Pearson's correlation of the rows (classes of a
 * sample) or columns (samples of a class) of softmax(s / T) and softmax(t / T) (Huang et al., Knowledge Distillation from A Stronger
 * Teacher, NeurIPS 2022).
 */
export function relationDistillation(
  write: GraphWriter,
  { logits, dims }: ClassScores,
  teacher: Value,
  { temperature, inter, intra }: RelationDistillation,
): Value {
  const shape = write.ints([rowCount(dims), dims.at(-1) ?? 1]);
  const [s, t] = [logits, teacher].map((scores) =>
    write.node('Softmax', [write.node('Mul', [write.node('Reshape', [scores, shape]), write.float(1 / temperature)])], {
      axis: attributeOf.int(-1),
    }),
  ) as [Value, Value];
  const share = (axis: number, weight: number): Value =>
    write.node('Mul', [write.node('Sub', [write.float(1), meanCorrelation(write, axis, [s, t])]), write.float(weight * temperature ** 2)]);
  return write.node('Add', [share(1, inter), share(0, intra)]);
}

/** r = sum a b / sqrt(sum a^2 sum b^2) of centered a and b along `axis`, averaged. */
function meanCorrelation(write: GraphWriter, axis: number, pair: readonly [Value, Value]): Value {
  const axes = write.ints([axis]);
  const sum = (a: Value, b: Value): Value => write.node('ReduceSum', [write.node('Mul', [a, b]), axes], kept);
  const [a, b] = pair.map((each) => write.node('Sub', [each, write.node('ReduceMean', [each, axes], kept)])) as [Value, Value];
  const [normA, normB] = [a, b].map((each) => write.node('Sqrt', [write.node('Add', [sum(each, each), write.float(EPSILON)])])) as [
    Value,
    Value,
  ];
  const correlations = write.node('Div', [sum(a, b), write.node('Mul', [normA, normB])]);
  return write.node('ReduceMean', [correlations], { keepdims: attributeOf.int(0) });
}
