/** Losses of values inside student and teacher. */
import { EngineError } from '../engine-errors.js';
import { attributeOf, type Value } from '../ir/index.js';
import type { HintTerm } from './loss-terms.js';
import { attentionMaps, valueRelations } from './losses/attention-losses.js';
import { attentionTransfer, type Feature, relationalAngles, relationalDistances, similarityPreserving } from './losses/feature-losses.js';
import { spatialAffinity } from './losses/image-losses.js';
import { relativeSquaredError } from './losses/value-losses.js';
import { randomStream } from './random-stream.js';
import type { ObjectiveScope } from './training-graph.js';

const REGRESSOR_SEED = 0;

export function hintLoss(scope: ObjectiveScope, term: HintTerm, { student, teacher }: { student: Feature; teacher: Feature }): Value {
  const { write } = scope;
  switch (term.kind) {
    case 'attention':
      return attentionTransfer(write, student, teacher);
    case 'similarity':
      return similarityPreserving(write, student, teacher);
    case 'relation':
      return relationalDistances(write, student, teacher);
    case 'relation-angles':
      return relationalAngles(write, student, teacher);
    case 'affinity':
      return spatialAffinity(write, student, teacher);
    case 'attention-map':
      return attentionMaps(write, student, teacher);
    case 'value-relation':
      return valueRelations(write, [student, teacher], term.heads);
    case 'feature':
      return relativeSquaredError(write, regressed(scope, student, { name: term.student, to: teacher.dims }), teacher.value);
  }
}

/** FitNets (Romero et al. 2015): where the two differ in width, a matrix between the widths is trained along and then forgotten. */
function regressed(scope: ObjectiveScope, { value, dims }: Feature, { name, to }: { name: string; to: readonly number[] }): Value {
  if (dims.join() === to.join()) return value;
  const different = dims.flatMap((size, axis) => (size === to[axis] ? [] : [axis]));
  const [axis = 0, another] = different;
  if (dims.length !== to.length || another !== undefined || axis === 0) {
    throw new EngineError(
      'recipe_invalid',
      `"${name}" is [${dims}], the teacher's value [${to}]: 'feature' compares values that differ in one width at most; 'similarity' and 'relation' compare any.`,
    );
  }
  const [from = 1, width = 1] = [dims[axis], to[axis]];
  const random = randomStream(REGRESSOR_SEED, axis, from, width);
  const values = Float32Array.from({ length: from * width }, () => (2 * random.uniform() - 1) / Math.sqrt(from));
  const matrix = scope.parameter({ name: `regressor/${name}`, dims: [from, width], role: 'weight', values });
  const order = [...dims.flatMap((_, at) => (at === axis ? [] : [at])), axis];
  const { write } = scope;
  const rows = write.node('Transpose', [value], { perm: attributeOf.ints(order) });
  const back = order.map((_, at) => order.indexOf(at));
  return write.node('Transpose', [write.node('MatMul', [rows, matrix])], { perm: attributeOf.ints(back) });
}
