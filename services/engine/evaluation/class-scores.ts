/** Decides which output of a model holds class scores, and how many per sample. */
import type { Tensor } from '../ir/index.js';

/** The rows of an output that belong to real samples. */
export interface SampleRows {
  /** Samples in the run's feeds. */
  readonly rows: number;
  /** Real samples among them: the first ones. */
  readonly sampleCount: number;
}

/** Elements of one sample, when the output can be divided by samples; null otherwise. */
export function elementsPerSample(output: Tensor, elements: number, { rows }: SampleRows): number | null {
  if (rows === 1) return elements;
  return output.dims[0] === rows ? elements / rows : null;
}

/**
 * Number of classes when one sample's part of the output is a vector (all axes but one have size 1) of at least two
 * floating-point scores; null for images, sequences, boxes and single numbers.
 */
export function classCount(output: Tensor, rows: SampleRows): number | null {
  if (output.dataType !== 'float32' && output.dataType !== 'float64' && output.dataType !== 'float16') return null;
  const dims = rows.rows > 1 || output.dims.length > 1 ? output.dims.slice(1) : output.dims;
  if (rows.rows === 1 && output.dims.length > 1 && output.dims[0] !== 1) return null;
  if (rows.rows > 1 && output.dims[0] !== rows.rows) return null;
  const wide = dims.filter((size) => size !== 1);
  return wide.length === 1 && (wide[0] ?? 0) >= 2 ? (wide[0] ?? null) : null;
}
