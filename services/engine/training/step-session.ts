/** A graph that is run step after step: how it is opened, and what is fed to it beside a batch. */
import type { Tensor } from '../ir/index.js';
import type { ExecutionSession, SessionOptions } from '../runtime/execution-session.js';
import { parameterTensor } from './trainable-model.js';
import type { TrainingGraph } from './training-graph.js';

/** From here on the allocation of every value by itself is felt: a twentieth of the step of an LSTM of 96 steps. */
export const MANY_NODES = 1000;
const FEW_BYTES = 64 * 2 ** 20;

/**
 * Spinning threads: steps follow each other without a pause, so sleeping between operators only costs. A memory pattern, one block
 * for all values, lies beside what the first step allocated (peak of the process for the ViT of the benchmark 659 and 420 MB), so
 * it is only for many small values.
 */
export function stepSessionOptions({ model, valueBytes }: TrainingGraph): SessionOptions {
  return {
    memoryPattern: model.graph.nodes.length >= MANY_NODES && valueBytes <= FEW_BYTES,
    config: {
      'session.intra_op.allow_spinning': '1',
      'session.use_deterministic_compute': '1',
      'session.disable_quant_qdq': '1',
      'session.disable_double_qdq_remover': '1',
    },
  };
}

/** Parameters and running statistics that the graph takes, by name: the memory of the graph, which moves. */
export function storedFeeds({ inputs }: ExecutionSession, { parameters, statistics }: TrainingGraph): Map<string, Tensor> {
  const wanted = new Set(inputs.map(({ name }) => name));
  const stored = [...parameters, ...statistics.flatMap(({ mean, variance }) => [mean, variance])];
  return new Map(stored.filter(({ name }) => wanted.has(name)).map((each) => [each.name, parameterTensor(each)]));
}

/** `own`, and of `batch` what the graph takes. */
export function stepFeeds(
  { inputs }: ExecutionSession,
  own: Iterable<readonly [string, Tensor]>,
  batch: ReadonlyMap<string, Tensor>,
): Map<string, Tensor> {
  const feeds = new Map(own);
  for (const { name } of inputs) {
    const feed = batch.get(name);
    if (feed) feeds.set(name, feed);
  }
  return feeds;
}
