/** The training loop: one batch, one run of the graph, one step of the optimizer; checkpoints on the way. */
import { EngineError } from '../engine-errors.js';
import { float32Values } from '../ir/index.js';
import type { LearningCurvePoint } from '../method.js';
import type { CheckpointStore } from './checkpoint.js';
import type { Checkpoint } from './checkpoint-format.js';
import { clipGlobalNorm } from './gradient-clipping.js';
import { type LearningRateOptions, learningRateAt } from './learning-rate.js';
import { MovingAverage } from './moving-average.js';
import { createOptimizer, type Optimizer, type OptimizerOptions } from './optimizer.js';
import { rightAnswers } from './targets.js';
import type { Parameter } from './trainable-model.js';
import type { TrainingBatch, TrainingBatches } from './training-batches.js';
import type { TrainingGraph } from './training-graph.js';
import type { BatchResult, TrainingSession } from './training-session.js';
import { copyArrays } from './training-state.js';

export interface TrainerOptions {
  readonly epochs: number;
  readonly optimizer: OptimizerOptions;
  readonly learningRate: LearningRateOptions;
  /** Largest global norm of the gradients. */
  readonly clipNorm?: number;
  /** Share of the average of the weights that a step keeps; the averages are the result then. */
  readonly averageDecay?: number;
}

export interface TrainingProgress extends LearningCurvePoint {
  readonly epochs: number;
  readonly steps: number;
  readonly stepsPerSecond: number;
}

export interface TrainingRun {
  readonly graph: TrainingGraph;
  readonly session: TrainingSession;
  readonly batches: TrainingBatches;
  readonly options: TrainerOptions;
  readonly signal: AbortSignal;
  readonly checkpoint?: CheckpointStore;
  /** Default 15 s. */
  readonly checkpointEveryMs?: number;
  report?(progress: TrainingProgress): void;
}

export interface TrainingResult {
  /** Weights by parameter: averages where they were asked for. */
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly curve: readonly LearningCurvePoint[];
  readonly steps: number;
  /** Steps that were run before, by a process that ended. */
  readonly resumedAt: number;
  readonly seconds: number;
}

const REPORT_MS = 500;
const CHECKPOINT_MS = 15_000;
/** A page shows no more. */
const CURVE_POINTS = 200;

/** Throws EngineError `recipe_invalid` when the loss is not a number any more. */
export async function train(run: TrainingRun): Promise<TrainingResult> {
  const started = performance.now();
  const trainer = new Trainer(run);
  const resumedAt = await trainer.resume();
  for (let step = resumedAt; step < trainer.steps; step++) {
    run.signal.throwIfAborted();
    await trainer.step(step);
  }
  return {
    ...{ weights: trainer.result(), curve: trainer.curve, steps: trainer.steps, resumedAt },
    seconds: (performance.now() - started) / 1000,
  };
}

interface Gathered {
  loss: number;
  right: number;
  rows: number;
  steps: number;
}

const nothing = (): Gathered => ({ loss: 0, right: 0, rows: 0, steps: 0 });

class Trainer {
  readonly steps: number;
  readonly curve: LearningCurvePoint[] = [];
  private readonly parameters: ReadonlyMap<string, Float32Array>;
  private readonly optimizer: Optimizer;
  private readonly average: MovingAverage | undefined;
  private readonly curveEvery: number;
  private gathered = nothing();
  private lately = { ...nothing(), since: performance.now() };
  private saved = performance.now();

  constructor(private readonly run: TrainingRun) {
    const { graph, batches, options } = run;
    this.steps = options.epochs * batches.perEpoch;
    this.curveEvery = Math.max(1, Math.ceil(this.steps / CURVE_POINTS));
    const trained = graph.parameters.filter(({ name }) => graph.gradients.has(name));
    this.parameters = new Map(trained.map(({ name, values }) => [name, values]));
    this.optimizer = createOptimizer(
      options.optimizer,
      trained.map(({ name, values, role }) => ({ name, length: values.length, decays: role === 'weight' })),
    );
    this.average = options.averageDecay === undefined ? undefined : new MovingAverage(this.parameters, options.averageDecay);
  }

  async step(step: number): Promise<void> {
    const { batches, session, options } = this.run;
    const batch = await batches.at(step);
    const found = await session.run(batch.feeds);
    if (!Number.isFinite(found.loss)) throw diverged(step);
    if (options.clipNorm !== undefined) clipGlobalNorm(found.gradients, options.clipNorm);
    const rate = learningRateAt(options.learningRate, step, this.steps);
    this.optimizer.step(this.parameters, found.gradients, rate);
    this.average?.update(this.parameters);
    this.record(step, rate, { batch, found });
    if (performance.now() - this.saved >= (this.run.checkpointEveryMs ?? CHECKPOINT_MS)) await this.save(step + 1);
  }

  result(): ReadonlyMap<string, Float32Array> {
    const weights = this.average?.values ?? this.parameters;
    return new Map([...weights].map(([name, values]) => [name, values.slice()]));
  }

  private record(step: number, rate: number, { batch, found }: { batch: TrainingBatch; found: BatchResult }): void {
    const { classes } = this.run.batches;
    const rows = classes && batch.targets ? batch.targets.length / classes : 0;
    const right = classes && batch.targets ? rightAnswers(float32Values(found.output), batch.targets, classes) : 0;
    for (const sums of [this.gathered, this.lately]) {
      sums.loss += found.loss;
      sums.right += right;
      sums.rows += rows;
      sums.steps += 1;
    }
    const isLast = step + 1 === this.steps;
    if ((step + 1) % this.curveEvery === 0 || isLast) {
      this.curve.push(this.point(step, rate, this.gathered));
      this.gathered = nothing();
    }
    const elapsed = performance.now() - this.lately.since;
    if (elapsed < REPORT_MS && !isLast) return;
    const { epochs } = this.run.options;
    const stepsPerSecond = (1000 * this.lately.steps) / elapsed;
    this.run.report?.({ ...this.point(step, rate, this.lately), epochs, steps: this.steps, stepsPerSecond });
    this.lately = { ...nothing(), since: performance.now() };
  }

  private point(step: number, rate: number, { loss, right, rows, steps }: Gathered): LearningCurvePoint {
    return {
      ...{ epoch: (step + 1) / this.run.batches.perEpoch, step: step + 1, loss: loss / Math.max(1, steps) },
      ...(rows > 0 ? { accuracy: right / rows } : {}),
      learning_rate: rate,
    };
  }

  /** The step to go on with: 0, or where a checkpoint of the same run stands. */
  async resume(): Promise<number> {
    const checkpoint = await this.run.checkpoint?.read();
    const step = checkpoint?.integers.get('step');
    if (!checkpoint || step === undefined || JSON.stringify(factsOf(checkpoint).options) !== JSON.stringify(this.run.options)) return 0;
    try {
      this.restore(checkpoint);
    } catch (error) {
      if (error instanceof RangeError) return 0;
      throw error;
    }
    this.curve.push(...factsOf(checkpoint).curve);
    this.gathered = factsOf(checkpoint).gathered;
    return step;
  }

  private async save(step: number): Promise<void> {
    const { checkpoint, options } = this.run;
    const { curve, gathered } = this;
    if (checkpoint) {
      const facts = JSON.parse(JSON.stringify({ options, curve, gathered }));
      await checkpoint.write({ arrays: this.arrays(), integers: this.counters(step), facts });
    }
    this.saved = performance.now();
  }

  private restore(checkpoint: Checkpoint): void {
    copyArrays(checkpoint.arrays, this.arrays());
    const counters = (prefix: string): Map<string, number> =>
      new Map([...checkpoint.integers].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [])));
    this.optimizer.restore({ arrays: this.optimizer.state().arrays, counters: counters('optimizer/') });
    this.average?.restore({ arrays: this.average.state().arrays, counters: counters('average/') });
  }

  /** Everything that moves. */
  private arrays(): Map<string, Float32Array> {
    const { graph } = this.run;
    const statistics: readonly Parameter[] = graph.statistics.flatMap(({ mean, variance }) => [mean, variance]);
    const under = (prefix: string, arrays: Iterable<readonly [string, Float32Array]>): [string, Float32Array][] =>
      [...arrays].map(([name, values]) => [`${prefix}/${name}`, values]);
    return new Map([
      ...under('parameter', this.parameters),
      ...under(
        'statistics',
        statistics.map(({ name, values }) => [name, values] as const),
      ),
      ...under('optimizer', this.optimizer.state().arrays),
      ...under('average', this.average?.state().arrays ?? []),
    ]);
  }

  private counters(step: number): Map<string, number> {
    const under = (prefix: string, counters: Iterable<readonly [string, number]>): [string, number][] =>
      [...counters].map(([name, value]) => [`${prefix}/${name}`, value]);
    return new Map([
      ['step', step],
      ...under('optimizer', this.optimizer.state().counters),
      ...under('average', this.average?.state().counters ?? []),
    ]);
  }
}

interface Facts {
  readonly options: unknown;
  readonly curve: readonly LearningCurvePoint[];
  readonly gathered: Gathered;
}

/** Written by `save` of the same version: the file says which. */
function factsOf({ facts }: Checkpoint): Facts {
  return facts as unknown as Facts;
}

function diverged(step: number): EngineError {
  return new EngineError(
    'recipe_invalid',
    `The loss is not a number any more after ${step} steps: lower "learning_rate", or bound the gradients with "clip_norm".`,
    { step },
  );
}
