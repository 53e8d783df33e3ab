/** Rounds layers on samples, by whichever algorithm: one layer after the other, and block by block from there. */
import type { Node } from '../../ir/index.js';
import { partOf } from '../../method.js';
import { reconstructBlocks } from '../block-reconstruction/index.js';
import type { SequentialResult } from './sequential-layer.js';
import { roundSequentially, type SequentialRequest } from './sequential-rounding.js';

/** Share of the work that the codes to start from take. */
const START = 0.1;

export async function roundOnSamples(request: SequentialRequest): Promise<Map<Node, SequentialResult>> {
  const { algorithm, context } = request;
  if (algorithm !== 'block-reconstruction') return roundSequentially(request);
  const start = await roundSequentially({ ...request, algorithm: 'gptq', context: partOf(context, 0, START) });
  return reconstructBlocks({ ...request, start, context: partOf(context, START, 1) });
}
