/** Trains the weights of a model in place: against labels, after a teacher, or both. */
import { join } from 'node:path';
import type { Estimator } from '../autodiff/index.js';
import { EngineError } from '../engine-errors.js';
import { attributeOf, float32Tensor, type Model, type Tensor } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import { nameMatcher } from '../layers/name-patterns.js';
import type { MethodContext, MethodOutcome, NodeChange } from '../method.js';
import { constantNodeTensor } from '../passes/constant-nodes.js';
import { cleanUp } from '../passes/index.js';
import { createAugmentation } from './augmentation/augmentation.js';
import { hintPairs, namedLosses } from './automatic-hints.js';
import { automaticLosses } from './automatic-losses.js';
import { batchParts, partOf } from './batch-parts.js';
import { answerOneByOne, batchedModels } from './batched-model.js';
import { checkpointFile } from './checkpoint.js';
import { DataParallelSession } from './data-parallel-session.js';
import { insertNormalizations, unnormalizedConvolutions } from './fresh-normalization.js';
import { initialize } from './initialization.js';
import type { LossTerm } from './loss-terms.js';
import { type ObjectiveInputs, objectiveOf } from './objective.js';
import { batchSizeOf, normalizationOf, type TrainingDefaults, type TrainingOptions, trainerOptions } from './options.js';
import { Regularizer } from './regularization/regularizer.js';
import { Teacher, teacherShapes } from './teacher.js';
import { type Parameter, trainableModel } from './trainable-model.js';
import { type TrainerOptions, type TrainingResult, train } from './trainer.js';
import { TrainingBatches } from './training-batches.js';
import { openTrainingData, type TrainingData, type TrainingRows } from './training-data.js';
import { type TrainingGraph, trainingGraph } from './training-graph.js';
import { type StepTaker, TrainingSession } from './training-session.js';
import { untieIdentities } from './untie-identities.js';

export interface TrainingTask {
  /** For the report: 'train', 'distill', 'fine-tune'. */
  readonly by: string;
  readonly options: TrainingOptions;
  readonly defaults: TrainingDefaults;
  /** What the student follows; absent to learn from labels alone. */
  readonly teacher?: Model;
  /** Names of constants that are trained whatever reads them. */
  readonly alsoTrained?: ReadonlySet<string>;
  /** Gradients of nodes that have none of their own: rounding. */
  readonly estimator?: Estimator;
}

/** Throws EngineError `recipe_invalid`, `dataset_invalid` or `model_unsupported`; `model` is whole until the weights are written. */
export async function trainModel(model: Model, task: TrainingTask, context: MethodContext): Promise<MethodOutcome> {
  const { calibration: source, scratch, signal } = context;
  if (!source)
    throw new EngineError(
      'recipe_invalid',
      `"${task.by}" needs samples: give a data set (calibration, or --data) with the inputs of the model.`,
    );
  untieIdentities(model);
  if (task.options.initialize === 'fresh') initialize(model, task.options.seed ?? 0);
  const data = await openTrainingData(source, { scratch, signal });
  const closers: (() => Promise<void>)[] = [() => data.close()];
  try {
    const inserted = normalizationOf(task.options) === 'insert' && (await normalizeAfresh(model, task, { data, context }));
    const prepared = await prepare(model, task, { data, context, closers });
    const { session, options } = prepared;
    const folder = context.checkpoints;
    const checkpoint =
      folder === undefined ? undefined : checkpointFile({ path: join(folder, `${task.by}-${context.step ?? 0}.checkpoint`) });
    const result = await train({
      ...{ graph: prepared.graph, session, batches: prepared.batches, options, signal },
      ...(checkpoint ? { checkpoint } : {}),
      ...(context.checkpointEveryMs === undefined ? {} : { checkpointEveryMs: context.checkpointEveryMs }),
      report: ({ epoch, epochs, step, steps, loss, accuracy, stepsPerSecond }) =>
        context.progress(
          step / steps,
          `epoch ${Math.min(epochs, Math.floor(epoch) + 1)} of ${epochs}: loss ${loss.toPrecision(4)}${accuracy === undefined ? '' : `, accuracy ${(100 * accuracy).toFixed(1)} %`}, ${stepsPerSecond.toPrecision(3)} steps/s`,
        ),
    });
    writeWeights(model, prepared.graph, result);
    if (inserted) await cleanUp(model, { ...context, progress: () => undefined });
    return outcome(model, task, { ...prepared, result });
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** Samples that fresh normalizations take their statistics from. */
const STATISTICS_SAMPLES = 1024;

/** True when a normalization was added. */
async function normalizeAfresh(
  model: Model,
  { options }: TrainingTask,
  { data, context }: { data: TrainingData; context: MethodContext },
): Promise<boolean> {
  const nodes = unnormalizedConvolutions(model);
  if (nodes.length === 0) return false;
  const size = data.fixedBatch ?? batchSizeOf(options);
  async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    for (let from = 0; from + size <= Math.min(data.sampleCount, STATISTICS_SAMPLES) || from === 0; from += size)
      yield (await data.rows(Array.from({ length: size }, (_, at) => (from + at) % data.sampleCount))).feeds;
  }
  await insertNormalizations(model, { nodes, batches: batches(), runtime: context.runtime, isFresh: options.initialize === 'fresh' });
  return true;
}

interface Prepared {
  readonly graph: TrainingGraph;
  readonly session: StepTaker;
  readonly options: TrainerOptions;
  readonly batches: TrainingBatches;
  readonly teacher?: Teacher;
  readonly losses: readonly LossTerm[];
  readonly warnings: readonly string[];
  readonly regularizer: Regularizer | undefined;
}

/** What it opens is closed by `closers`. */
async function prepare(
  model: Model,
  task: TrainingTask,
  { data, context, closers }: { data: TrainingData; context: MethodContext; closers: (() => Promise<void>)[] },
): Promise<Prepared> {
  const { options } = task;
  const batch = await batchOf(model, task, { data, context });
  const { batchSize, teacher: teacherModel, warnings } = batch;
  const first = await data.rows(Array.from({ length: batchSize }, (_, at) => at % data.sampleCount));
  const trainer = trainerOptions(options, task.defaults);
  const problem = { model, task, batch, rows: first, context };
  const written = await writeGraph(problem, trainer);
  const { graph, inputs, losses, regularizer } = written;
  const seed = options.seed ?? 0;
  const augmentation = options.augmentation && options.augmentation.length > 0 ? createAugmentation(options.augmentation, seed) : undefined;
  const teacher =
    teacherModel && inputs.teacher.size > 0 ? await Teacher.open(context.runtime, teacherModel, [...inputs.teacher.keys()]) : undefined;
  if (teacher) closers.push(() => teacher.close());
  const batches = new TrainingBatches({
    ...{ data, batchSize, seed, inputs, epochs: trainer.epochs },
    ...(augmentation ? { augmentation } : {}),
    ...(teacher ? { teacher } : {}),
  });
  const session = await openSession(problem, written, { data, trainer });
  closers.push(() => session.close());
  return { graph, session, batches, options: trainer, ...(teacher ? { teacher } : {}), losses, warnings, regularizer };
}

interface TrainingProblem {
  readonly model: Model;
  readonly task: TrainingTask;
  readonly batch: Batch;
  /** Of one step: sizes and the form of the labels are taken from them. */
  readonly rows: TrainingRows;
  readonly context: MethodContext;
}

interface WrittenGraph {
  readonly graph: TrainingGraph;
  readonly inputs: ObjectiveInputs;
  readonly losses: readonly LossTerm[];
  readonly regularizer: Regularizer | undefined;
}

/** For steps with as many rows as `rows`; without `updates` the gradients are outputs. */
async function writeGraph({ model, task, batch, rows, context }: TrainingProblem, updates?: TrainerOptions): Promise<WrittenGraph> {
  const { options } = task;
  const { feeds, labels } = rows;
  const { student, teacher: teacherModel } = batch;
  const facts = {
    model,
    hasTeacher: teacherModel !== undefined,
    ...(labels ? { labels } : {}),
    ...(options.task ? { task: options.task } : {}),
  };
  const shapes = teacherModel && (await teacherShapes(context.runtime, teacherModel, feeds));
  const batchStatistics = normalizationOf(options) !== 'fixed';
  const also = task.alsoTrained ? { alsoTrained: task.alsoTrained } : {};
  const trainable = await trainableModel({ model: student, feeds, context, batchStatistics, ...also });
  const teaching = teacherModel && shapes && { graph: teacherModel.graph, shapes: shapes.shapes };
  const losses = namedLosses(options.losses ?? automaticLosses(facts), { graph: model.graph, shapes: trainable.shapes }, teaching);
  const isTrained = trainedBy(options);
  const regularizer = options.regularizer && Regularizer.of(options.regularizer, { trainable, isTrained, context });
  const { objective, inputs } = objectiveOf(losses, { teacher: shapes, penalty: regularizer?.penalty });
  const graph = await trainingGraph({
    ...{ trainable, feeds, objective, isTrained, runtime: context.runtime },
    ...(task.estimator ? { estimator: task.estimator } : {}),
    ...(updates ? { updates } : {}),
  });
  return { graph, inputs, losses, regularizer };
}

/** On several threads where each can take a part of the batch: then its graph is written for a part. */
async function openSession(
  problem: TrainingProblem,
  { graph, losses, regularizer }: WrittenGraph,
  { data, trainer }: { data: TrainingData; trainer: TrainerOptions },
): Promise<StepTaker> {
  const { batch, rows, context, task } = problem;
  const { runtime } = context;
  const isDivisible = batch.batchSize !== data.fixedBatch && !regularizer && !task.estimator;
  const parts = isDivisible ? batchParts({ graph, feeds: rows.feeds, losses, threads: runtime.threads }) : 1;
  const models = [batch.student, ...(batch.teacher ? [batch.teacher] : [])];
  if (parts === 1 || !(await answerOneByOne(models, data, runtime))) return TrainingSession.open(runtime, graph);
  const part = await writeGraph({ ...problem, rows: { ...rows, feeds: partOf(rows.feeds, 0, parts) } });
  return DataParallelSession.open(runtime, part.graph, { parts, options: trainer });
}

interface Batch {
  readonly batchSize: number;
  /** What takes such a batch; the models themselves where they do. */
  readonly student: Model;
  readonly teacher?: Model;
  readonly warnings: readonly string[];
}

const ONE_PER_STEP =
  'the graph takes one sample per run and does not answer alike for several, so each step learned from one; a model with a free batch axis learns more steadily.';

/** A graph of one sample per run is trained in batches where it can be run in batches. */
async function batchOf(
  model: Model,
  { by, options, teacher }: TrainingTask,
  { data, context }: { data: TrainingData; context: MethodContext },
): Promise<Batch> {
  const asTheyAre = { student: model, ...(teacher ? { teacher } : {}), warnings: [] };
  const wanted = batchSizeOf(options);
  if (data.fixedBatch === null) return { batchSize: wanted, ...asTheyAre };
  const models = teacher ? [model, teacher] : [model];
  if (data.fixedBatch > 1 || wanted === 1) return { batchSize: data.fixedBatch, ...asTheyAre };
  const [student, freeTeacher] = (await batchedModels(models, data, context.runtime)) ?? [];
  if (!student) return { batchSize: 1, ...asTheyAre, warnings: [`${by}: ${ONE_PER_STEP}`] };
  return { batchSize: Math.min(wanted, data.sampleCount), student, ...(freeTeacher ? { teacher: freeTeacher } : {}), warnings: [] };
}

function trainedBy({ trainable, frozen = [] }: TrainingOptions): (parameter: Parameter) => boolean {
  const isChosen = trainable ? nameMatcher(trainable) : () => true;
  const isLeft = nameMatcher(frozen);
  return ({ name }) => isChosen(name) && !isLeft(name);
}

/** By name, in whichever graph the constant is. */
function writeWeights(model: Model, graph: TrainingGraph, { weights }: TrainingResult): void {
  const statistics = graph.statistics.flatMap(({ mean, variance }) => [mean, variance]);
  const found = new Map([...weights, ...statistics.map(({ name, values }) => [name, values] as const)]);
  for (const each of graphsWithin(model.graph)) {
    for (const [value, tensor] of each.initializers) {
      const values = found.get(value.name);
      if (values) each.initializers.set(value, float32Tensor(tensor.dims, values));
    }
    for (const node of each.nodes) {
      const values = node.opType === 'Constant' ? found.get(node.outputs[0]?.name ?? '') : undefined;
      const tensor = values && constantNodeTensor(node);
      if (!values || !tensor) continue;
      node.attributes.clear();
      node.attributes.set('value', attributeOf.tensor(float32Tensor(tensor.dims, values)));
    }
  }
}

interface Finished extends Pick<Prepared, 'graph' | 'losses' | 'warnings' | 'regularizer'> {
  readonly result: TrainingResult;
}

function outcome(model: Model, { by }: TrainingTask, { graph, result, losses, warnings, regularizer }: Finished): MethodOutcome {
  const moved = new Set(graph.gradients.keys());
  const nodes = [...graphsWithin(model.graph)].flatMap((each) =>
    each.nodes.flatMap((node): NodeChange[] => {
      const names = node.inputs.flatMap((input) => (input && moved.has(input.name) ? [input.name] : []));
      if (names.length === 0) return [];
      return [
        {
          node: node.name || (node.outputs[0]?.name ?? ''),
          op_type: node.opType,
          action: 'changed',
          by,
          reason: `trained ${names.join(', ')}`,
        },
      ];
    }),
  );
  const hints = hintPairs(losses);
  return {
    nodes,
    warnings,
    training: {
      ...{
        method: by,
        losses: [...new Set(losses.map(({ kind }) => kind))],
        ...(hints.length > 0 ? { hints } : {}),
        ...(regularizer ? { regularizer: regularizer.summary(result.weights) } : {}),
        steps: result.steps,
        seconds: result.seconds,
        curve: result.curve,
        resumed_at: result.resumedAt,
      },
      parameters: [...result.weights.values()].reduce((sum, values) => sum + values.length, 0),
      steps_per_second: (result.steps - result.resumedAt) / result.seconds,
    },
  };
}
