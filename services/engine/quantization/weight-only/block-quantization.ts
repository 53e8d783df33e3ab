/** From a float matrix to its blocked form by each algorithm: pure functions over one matrix and, where given, what is known of its inputs. */
import { gptqBlocks } from './block-gptq.js';
import { type BlockedWeights, type BlockFit, type BlockScheme, fitBlocks, roundToBlocks, type WeightRows } from './blocked-weights.js';
import { clipSearch } from './clip-search.js';
import { descendBlocks } from './coordinate-descent.js';
import { halfQuadratic } from './half-quadratic-quantization.js';
import { kQuant } from './k-quant.js';
import type { WeightAlgorithm } from './options.js';
import { outputClipSearch } from './output-clip-search.js';
import { roundToNearest } from './round-to-nearest.js';

/** Algorithms that cannot do without calibration samples. */
export const algorithmsWithData: readonly WeightAlgorithm[] = ['gptq', 'coordinate-descent', 'awq'];

/** What an algorithm sees of one matrix. `hessian` is X^T X / n of its inputs, [depth, depth]. */
export interface MatrixTask {
  readonly rows: WeightRows;
  readonly scheme: BlockScheme;
  readonly hessian?: Float64Array | undefined;
}

type MatrixAlgorithm = (task: MatrixTask) => BlockedWeights;

const byFit =
  (fit: BlockFit): MatrixAlgorithm =>
  ({ rows, scheme }) =>
    roundToBlocks(rows, fitBlocks(rows, scheme, { fit }));

const matrixAlgorithms: { readonly [Name in WeightAlgorithm]: MatrixAlgorithm } = {
  rtn: byFit(roundToNearest),
  mse: byFit(clipSearch),
  hqq: byFit(halfQuadratic),
  'k-quant': importanceWeighted,
  gptq: byErrorFeedback,
  'coordinate-descent': (task) => (task.hessian ? descendBlocks(task.rows, byErrorFeedback(task), task.hessian) : importanceWeighted(task)),
  awq: (task) => (task.hessian ? outputClipSearch(task.rows, task.scheme, task.hessian) : importanceWeighted(task)),
};

export function quantizeMatrix(algorithm: WeightAlgorithm, task: MatrixTask): BlockedWeights {
  return matrixAlgorithms[algorithm](task);
}

function byErrorFeedback(task: MatrixTask): BlockedWeights {
  const { rows, scheme, hessian } = task;
  if (!hessian) return importanceWeighted(task);
  return gptqBlocks(rows, fitBlocks(rows, scheme, { fit: kQuant, importance: diagonal(hessian, rows.depth) }), hessian);
}

function importanceWeighted({ rows, scheme, hessian }: MatrixTask): BlockedWeights {
  const importance = hessian && diagonal(hessian, rows.depth);
  return roundToBlocks(rows, fitBlocks(rows, scheme, { fit: kQuant, importance }));
}

/** E[x_k^2]. */
export function diagonal(hessian: Float64Array, depth: number): Float64Array {
  return Float64Array.from({ length: depth }, (_, k) => hessian[k * depth + k] ?? 0);
}
