/** Which output of a model answers labels that are values, and with which of its numbers. */
import { elementCount, isFloating, type Tensor } from '../ir/index.js';
import { elementsPerSample, type SampleRows } from './class-scores.js';
import { elementsOf } from './tensor-elements.js';

export interface PointForecast {
  readonly output: Tensor;
  /** One for each label, in their order; more behind them where the last samples fill up a batch. */
  readonly actual: ArrayLike<number>;
}

/**
 * The first output with as many numbers per sample as the labels. Else, where labels have steps [N, ..., steps], the first with an odd
 * number of quantiles on one more axis behind them: the middle one is the forecast. null where none fits.
 */
export function pointForecast(outputs: Iterable<Tensor>, labels: Tensor, rows: SampleRows): PointForecast | null {
  const candidates = [...outputs].filter(({ dataType }) => isFloating(dataType));
  const perSample = elementCount(labels.dims) / rows.sampleCount;
  for (const output of candidates) {
    const actual = elementsOf(output);
    if (elementsPerSample(output, actual.length, rows) === perSample) return { output, actual };
  }
  for (const output of candidates) {
    const count = quantilesOf(output, labels, rows);
    if (count !== null) return { output: { ...output, dims: output.dims.slice(0, -1) }, actual: middleOf(elementsOf(output), count) };
  }
  return null;
}

function quantilesOf({ dims }: Tensor, labels: Tensor, { rows }: SampleRows): number | null {
  const count = dims.at(-1) ?? 0;
  const hasSteps = labels.dims.length >= 2 && dims.slice(1, -1).join() === labels.dims.slice(1).join();
  return hasSteps && dims[0] === rows && count % 2 === 1 ? count : null;
}

function middleOf(values: ArrayLike<number>, count: number): Float64Array {
  return Float64Array.from({ length: values.length / count }, (_, at) => values[at * count + (count - 1) / 2] ?? Number.NaN);
}
