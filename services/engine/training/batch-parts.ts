/** A batch in equal parts, one for each thread. */
import { partOfRows, type Tensor } from '../ir/index.js';
import { isMeanOfSamples, type LossTerm } from './loss-terms.js';
import { MANY_NODES } from './step-session.js';
import type { TrainingGraph } from './training-graph.js';

/** Below this passing things between threads, about a millisecond, is what a step takes. */
const VALUE_BYTES_MIN = 2 ** 20;
/** Above it the memory that each session keeps with room to spare is felt: a ViT of 530 MB gained a sixth of its time and took 70 MB more. */
const VALUE_BYTES_MAX = 256 * 2 ** 20;
/** Every thread holds its own copy of the parameters and of their gradients. */
const PARAMETER_BYTES_MAX = 16 * 2 ** 20;
/** Operators on fewer rows take little less time. */
const ROWS_MIN = 16;

export interface BatchWork {
  /** Of the whole batch. */
  readonly graph: TrainingGraph;
  /** Of the model. */
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly losses: readonly LossTerm[];
  readonly threads: number;
}

/**
 * In how many parts a batch is computed: the most that it divides into, at most one per thread; 1 where samples do not stand alone
 * (statistics of the batch, losses that relate samples) or it is not worth it: few large operators divide themselves well enough.
 */
export function batchParts({ graph, feeds, losses, threads }: BatchWork): number {
  if (!isWorthIt(graph) || graph.statistics.length > 0 || !losses.every(({ kind }) => isMeanOfSamples[kind])) return 1;
  const [size, ...others] = new Set([...feeds.values()].map(({ dims: [rows = 0] }) => rows));
  const isInRows = [...graph.inputs.values()].every(([rows = 0]) => rows > 0 && rows % (size ?? 1) === 0);
  if (!size || others.length > 0 || !isInRows) return 1;
  let parts = Math.max(1, Math.min(threads, Math.floor(size / ROWS_MIN)));
  while (size % parts !== 0) parts -= 1;
  return parts;
}

function isWorthIt({ model, valueBytes, parameters }: TrainingGraph): boolean {
  const parameterBytes = parameters.reduce((sum, { values }) => sum + values.byteLength, 0);
  const isOfSize = valueBytes >= VALUE_BYTES_MIN && valueBytes <= VALUE_BYTES_MAX && parameterBytes <= PARAMETER_BYTES_MAX;
  return isOfSize && model.graph.nodes.length >= MANY_NODES;
}

/** Rows `part` of `parts`, counted from 0: views. */
export function partOf(feeds: ReadonlyMap<string, Tensor>, part: number, parts: number): Map<string, Tensor> {
  return new Map([...feeds].map(([name, tensor]) => [name, partOfRows(tensor, part, parts)] as const));
}
