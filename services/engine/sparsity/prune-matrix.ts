/** Makes a share of the weights of one layer zero by what is known of its inputs. */
import type { Criterion } from './options.js';
import type { PatternMatrix } from './pattern.js';
import { inputOrder, patternRows, type WeightForm, weightValues } from './pattern-rows.js';
import { quotas } from './quotas.js';
import { magnitudeScores, wandaScores } from './scores.js';
import { sparseGpt, unitsInBlocks } from './sparse-gpt.js';
import { chooseZeros, type ZeroRule } from './zero-mask.js';

/** Sums over the inputs, by groups, K in the order in which the weights of an output lie in memory. */
export type InputSums =
  /** [groups, K]: sums of squares. */
  | { readonly kind: 'squares'; readonly groups: number; readonly values: Float64Array }
  /** [groups, K, K]: X^T X. */
  | { readonly kind: 'gram'; readonly groups: number; readonly values: Float64Array };

export interface PrunedMatrix {
  /** In memory order. */
  readonly values: Float32Array;
  /** What decided: 'magnitude' where nothing is known of the inputs. */
  readonly criterion: Criterion;
}

/** Smaller numbers are denormal: processors are slow with them, and to the outputs they are nothing. */
const NORMAL_MIN = 2 ** -126;

/** `values` in memory order; weights that are zero stay so. */
export function pruneMatrix(
  values: ArrayLike<number>,
  form: WeightForm,
  { rule, inputs }: { readonly rule: Pick<ZeroRule, 'pattern' | 'fraction'>; readonly inputs: InputSums | undefined },
): PrunedMatrix {
  const rows = patternRows(values, form);
  const known = inputs && inPatternOrder(inputs, form.matrix);
  if (known?.kind === 'gram') pruneGroups(rows, form.matrix, { rule, gram: known });
  else {
    const scores = known ? wandaScores(rows, known.values, form.matrix) : magnitudeScores(rows);
    const zeros = chooseZeros(scores, form.matrix, { ...rule, compare: known ? 'output' : 'matrix' });
    for (const [at, isZero] of zeros.entries()) if (isZero === 1) rows[at] = 0;
  }
  const pruned = weightValues(rows, form).map((value) => (Math.abs(value) < NORMAL_MIN ? 0 : value));
  return { values: pruned, criterion: known ? (known.kind === 'gram' ? 'sparsegpt' : 'wanda') : 'magnitude' };
}

/** The groups of a convolution and the directions of a recurrent layer have inputs of their own. */
function pruneGroups(
  weights: Float64Array,
  matrix: PatternMatrix,
  { rule, gram }: { rule: Pick<ZeroRule, 'pattern' | 'fraction'>; gram: InputSums },
): void {
  const { depth } = matrix;
  const part = { ...matrix, rows: matrix.rows / gram.groups };
  const groups = Array.from({ length: gram.groups }, (_, group) =>
    weights.subarray(group * part.rows * depth, (group + 1) * part.rows * depth),
  );
  const units = groups.map((own) => unitsInBlocks(own, part, rule.pattern));
  const counts = quotas(units.flat(), rule.fraction);
  for (const [group, own] of groups.entries()) {
    const blocks = units[group]?.length ?? 0;
    sparseGpt({
      matrix: part,
      weights: own,
      hessian: gram.values.subarray(group * depth ** 2, (group + 1) * depth ** 2),
      rule,
      counts: counts.slice(group * blocks, (group + 1) * blocks),
    });
  }
}

function inPatternOrder(inputs: InputSums, { depth, inputs: perTap }: PatternMatrix): InputSums {
  if (perTap === depth) return inputs;
  const order = inputOrder({ depth, inputs: perTap });
  const { kind, values } = inputs;
  const reordered = new Float64Array(values.length);
  const width = kind === 'gram' ? depth : 1;
  const lines = values.length / width;
  for (let line = 0; line < lines; line += 1) {
    const base = line - (line % depth);
    const from = (base + (order[line % depth] ?? 0)) * width;
    for (let j = 0; j < width; j += 1) reordered[line * width + j] = values[from + (width === 1 ? 0 : (order[j] ?? 0))] ?? 0;
  }
  return { ...inputs, values: reordered };
}
