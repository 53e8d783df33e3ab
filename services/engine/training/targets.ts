/** Labels of a data set in the form that a loss compares with: float32, one row of class shares per row of scores, or values. */
import { EngineError } from '../engine-errors.js';
import { elementCount, float32Values, integerValues, isFloating, type Tensor } from '../ir/index.js';

export interface TargetForm {
  readonly dims: readonly number[];
  readonly form: 'classes' | 'values';
}

/** Throws EngineError `dataset_invalid` when the labels do not fit the output. */
export function targetValues(labels: Tensor, target: TargetForm): Float32Array {
  const count = elementCount(target.dims);
  if (target.form === 'classes' && !isFloating(labels.dataType)) return classShares(integerValues(labels), target.dims);
  if (elementCount(labels.dims) !== count) {
    throw new EngineError(
      'dataset_invalid',
      `The labels of a batch are [${labels.dims}], the output they are compared with is [${target.dims}].`,
    );
  }
  return labels.dataType === 'float32' ? float32Values(labels) : Float32Array.from(numbers(labels));
}

function numbers(labels: Tensor): ArrayLike<number> {
  if (labels.dataType === 'float64') {
    const bytes = labels.data.read().slice();
    return new Float64Array(bytes.buffer);
  }
  return integerValues(labels);
}

/** One-hot rows. */
function classShares(labels: readonly number[], dims: readonly number[]): Float32Array {
  const classes = dims.at(-1) ?? 1;
  const rows = elementCount(dims) / classes;
  if (labels.length !== rows)
    throw new EngineError('dataset_invalid', `A batch has ${labels.length} labels for ${rows} rows of scores [${dims}].`);
  const shares = new Float32Array(rows * classes);
  for (const [row, label] of labels.entries()) {
    if (!(label >= 0 && label < classes))
      throw new EngineError('dataset_invalid', `The label ${label} is none of the ${classes} classes of the output.`, { label });
    shares[row * classes + label] = 1;
  }
  return shares;
}

/** Rows of scores whose largest is at the largest share of the target. */
export function rightAnswers(scores: Float32Array, targets: Float32Array, classes: number): number {
  let right = 0;
  for (let start = 0; start < scores.length; start += classes)
    if (largestAt(scores, start, classes) === largestAt(targets, start, classes)) right += 1;
  return right;
}

function largestAt(values: Float32Array, start: number, count: number): number {
  let best = 0;
  for (let at = 1; at < count; at++) if ((values[start + at] ?? 0) > (values[start + best] ?? 0)) best = at;
  return best;
}
