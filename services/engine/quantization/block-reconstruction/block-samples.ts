/** What a block reads in the network that is rounded before it, and what it makes in the float network: sample by sample, on disk when it is much. */
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource, SampleRun } from '../../method.js';
import { ProbeGraph } from '../../normal-equations/probe-graph.js';
import type { ExecutionSession } from '../../runtime/execution-session.js';
import { openTrainingData, type TrainingData } from '../../training/training-data.js';
import type { Block } from './blocks.js';

export interface BlockSamplesRequest {
  readonly block: Block<unknown>;
  /** The float network, and the one whose inputs the block gets. */
  readonly original: Model;
  readonly rounded: Model;
  readonly samples: RunSource;
  /** Samples in every run. */
  readonly batch: number;
  readonly context: MethodContext;
}

export const targetName = (output: string): string => `target/${output}`;

/** Inputs of the block by their names, its float outputs by `targetName`. Must be closed. */
export function openBlockSamples(request: BlockSamplesRequest): Promise<TrainingData> {
  const { scratch, signal } = request.context;
  return openTrainingData(pairedSource(request), { scratch, signal });
}

/** Runs of one size: what depends on the size of a run (shapes that the network computes) is then the same for all. */
function pairedSource(request: BlockSamplesRequest): RunSource {
  const { block, original, rounded, samples, batch, context } = request;
  const fed = new Set(original.graph.inputs.map(({ name }) => name));
  const inputs = block.inputs.map(({ name }) => name);
  const outputs = block.outputs.map(({ name }) => name);
  const sampleCount = samples.sampleCount - (samples.fixedBatch ? 0 : samples.sampleCount % batch);
  return {
    ...{ sampleCount, fixedBatch: samples.fixedBatch, sampleBytes: samples.sampleBytes },
    async *runs() {
      const sessions: ExecutionSession[] = [];
      try {
        const before = observed(
          rounded,
          inputs.filter((name) => !fed.has(name)),
        );
        const behind = observed(original, outputs);
        for (const model of before ? [before, behind as Model] : [behind as Model]) sessions.push(await context.runtime.open(model));
        for await (const run of samples.runs(batch, sampleCount)) {
          context.signal.throwIfAborted();
          const feeds = new Map([...run.feeds].filter(([name]) => inputs.includes(name)));
          const target = sessions.at(-1) as ExecutionSession;
          if (before) for (const [name, tensor] of await (sessions[0] as ExecutionSession).run(run.feeds)) feeds.set(name, tensor);
          for (const [name, tensor] of await target.run(run.feeds)) feeds.set(targetName(name), tensor);
          yield { feeds, rows: run.rows, sampleCount: run.sampleCount } satisfies SampleRun;
        }
      } finally {
        for (const session of sessions) await session.close();
      }
    },
  };
}

/** The part of `model` that makes `names`; undefined for none. */
function observed(model: Model, names: readonly string[]): Model | undefined {
  if (names.length === 0) return undefined;
  const probe = new ProbeGraph(model);
  for (const name of names) {
    const value = probe.value(name);
    if (!value) throw new RangeError(`the graph makes no value "${name}"`);
    probe.output(value);
  }
  return probe.pruned();
}
