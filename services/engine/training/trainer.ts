/** The training loop: batches, one run of the graph with one step of the optimizer for each; checkpoints between runs. */
import { EngineError } from '../engine-errors.js';
import { float32Values } from '../ir/index.js';
import type { LearningCurvePoint } from '../method.js';
import type { CheckpointStore } from './checkpoint.js';
import type { Checkpoint } from './checkpoint-format.js';
import { type LearningRateOptions, learningRateAt } from './learning-rate.js';
import { MovingAverage } from './moving-average.js';
import type { UpdateOptions } from './optimizer.js';
import { rightAnswers } from './targets.js';
import type { TrainingBatch, TrainingBatches } from './training-batches.js';
import type { TrainingGraph } from './training-graph.js';
import type { StepResult, StepTaker } from './training-session.js';

export interface TrainerOptions extends UpdateOptions {
  readonly epochs: number;
  readonly learningRate: LearningRateOptions;
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
  readonly session: StepTaker;
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
  for (let step = resumedAt; step < trainer.steps; ) step += await trainer.advance(step);
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
  private readonly average: MovingAverage | undefined;
  private readonly curveEvery: number;
  private gathered = nothing();
  private lately = { ...nothing(), since: performance.now() };
  private saved = performance.now();

  constructor(private readonly run: TrainingRun) {
    const { session, batches, options } = run;
    this.steps = options.epochs * batches.perEpoch;
    this.curveEvery = Math.max(1, Math.ceil(this.steps / CURVE_POINTS));
    this.average = options.averageDecay === undefined ? undefined : new MovingAverage(session.parameters(), options.averageDecay);
  }

  /** Steps from `step` on in one run. Returns how many. */
  async advance(step: number): Promise<number> {
    const { batches, session, options, signal } = this.run;
    const count = Math.min(this.average ? 1 : session.stepsPerRun, this.steps - step);
    const taken: (TrainingBatch & { readonly learningRate: number })[] = [];
    for (let at = step; at < step + count; at++) {
      signal.throwIfAborted();
      taken.push({ ...(await batches.at(at)), learningRate: learningRateAt(options.learningRate, at, this.steps) });
    }
    signal.throwIfAborted();
    const results = await session.run(step + 1, taken);
    const wrong = results.findIndex(({ loss }) => !Number.isFinite(loss));
    if (wrong >= 0) throw diverged(step + wrong);
    this.average?.update(session.parameters());
    for (const [at, batch] of taken.entries()) this.record(step + at, batch.learningRate, { batch, found: results[at] as StepResult });
    if (performance.now() - this.saved >= (this.run.checkpointEveryMs ?? CHECKPOINT_MS)) await this.save(step + count);
    return count;
  }

  result(): ReadonlyMap<string, Float32Array> {
    const weights = this.average?.values ?? this.run.session.parameters();
    return new Map([...weights].map(([name, values]) => [name, values.slice()]));
  }

  private record(step: number, rate: number, { batch, found }: { batch: TrainingBatch; found: StepResult }): void {
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
    const { arrays, integers } = checkpoint;
    this.average?.restore({ arrays: below(AVERAGE, arrays), counters: below(AVERAGE, integers) });
    this.run.session.restore(arrays);
  }

  /** Everything that moves. */
  private arrays(): Map<string, Float32Array> {
    const averages = [...(this.average?.state().arrays ?? [])].map(([name, values]) => [`${AVERAGE}${name}`, values] as const);
    return new Map([...this.run.session.arrays(), ...averages]);
  }

  private counters(step: number): Map<string, number> {
    const averages = [...(this.average?.state().counters ?? [])].map(([name, value]) => [`${AVERAGE}${name}`, value] as const);
    return new Map([['step', step], ...averages]);
  }
}

const AVERAGE = 'average/';

/** What `prefix` stands before, without it. */
function below<T>(prefix: string, entries: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...entries].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value] as const] : [])));
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
