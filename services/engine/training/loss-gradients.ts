/** Gradients of a loss by the weights of a model, batch by batch: what criteria of pruning ask for. */
import { elementCount, float32Tensor, float32Values, type Model, type Tensor } from '../ir/index.js';
import type { GradientRequest, SampleRun } from '../method.js';
import { automaticLosses } from './automatic-losses.js';
import { GradientSession } from './gradient-session.js';
import type { LossTerm } from './loss-terms.js';
import { type ObjectiveInputs, objectiveOf } from './objective.js';
import { targetValues } from './targets.js';
import { trainableModel } from './trainable-model.js';
import { trainingGraph } from './training-graph.js';

interface Prepared {
  readonly session: GradientSession;
  readonly inputs: ObjectiveInputs;
  readonly rows: number;
}

/**
 * dL/dw by constant for each batch. L is the loss that the labels ask for. Without labels the model's own answers stand in for
 * them: its most likely class, or, for values, half the mean square of the outputs, whose gradient is how much they move.
 * A last batch that is smaller than the others is left out. Throws what preparing and differentiating the model throw.
 */
export async function* lossGradients(request: GradientRequest): AsyncGenerator<ReadonlyMap<string, Float32Array>> {
  let prepared: Prepared | undefined;
  try {
    for await (const run of request.samples.runs(request.batch)) {
      request.context.signal.throwIfAborted();
      prepared ??= await prepare(request, run);
      if (run.rows !== prepared.rows) break;
      const feeds = new Map(run.feeds);
      const { targets } = prepared.inputs;
      if (targets) feeds.set(targets.name, float32Tensor(targets.dims, await targetsOf(prepared, run)));
      const { gradients } = await prepared.session.run(feeds);
      yield new Map(request.constants.map((name) => [name, gradients.get(name) ?? zeros(request.model, name)] as const));
    }
  } finally {
    await prepared?.session.close();
  }
}

async function prepare({ model, constants, context }: GradientRequest, run: SampleRun): Promise<Prepared> {
  const wanted = new Set(constants);
  const labelled = run.labels ? { labels: run.labels } : {};
  const [chosen] = automaticLosses({ model, hasTeacher: false, ...labelled });
  const term: LossTerm = chosen?.kind === 'mse' && !run.labels ? { kind: 'mse', weight: 0.5 } : (chosen ?? { kind: 'mse' });
  const { objective, inputs } = objectiveOf([term]);
  const trainable = await trainableModel({ model, feeds: run.feeds, context, batchStatistics: false, alsoTrained: wanted });
  const isTrained = ({ name }: { name: string }): boolean => wanted.has(name);
  const graph = await trainingGraph({ trainable, feeds: run.feeds, objective, isTrained, runtime: context.runtime });
  return { session: await GradientSession.open(context.runtime, graph), inputs, rows: run.rows };
}

/** Labels, or what the model says itself: a run with targets of nothing gives its outputs. */
async function targetsOf({ session, inputs }: Prepared, run: SampleRun): Promise<Float32Array> {
  const { targets } = inputs;
  if (!targets) return new Float32Array();
  if (run.labels) return targetValues(run.labels, targets);
  const size = elementCount(targets.dims);
  const none = new Float32Array(size);
  if (targets.form === 'values') return none;
  const { output } = await session.run(new Map([...run.feeds, [targets.name, float32Tensor(targets.dims, none)]]));
  return ownAnswers(output, targets.dims.at(-1) ?? 1);
}

function ownAnswers(output: Tensor, classes: number): Float32Array {
  const scores = float32Values(output);
  const answers = new Float32Array(scores.length);
  for (let start = 0; start < scores.length; start += classes) {
    const row = scores.subarray(start, start + classes);
    answers[start + row.indexOf(Math.max(...row))] = 1;
  }
  return answers;
}

/** A constant that the loss does not depend on. */
function zeros(model: Model, name: string): Float32Array {
  const found = [...model.graph.initializers].find(([value]) => value.name === name);
  return new Float32Array(found ? elementCount(found[1].dims) : 0);
}
