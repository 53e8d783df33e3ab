/** Runs the training graph, optimizer included: batches in, losses out. What a step moved is what the next one reads. */
import { bytesInMemory, float32Tensor, float32Values, partOfRows, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { MovingState } from './moving-state.js';
import type { OptimizerStep } from './optimizer.js';
import { RunLength } from './run-length.js';
import { loopOverSteps, type StepLoop } from './step-loop.js';
import { stepSessionOptions, storedFeeds } from './step-session.js';
import type { Parameter, RunningStatistics } from './trainable-model.js';
import type { TrainingGraph } from './training-graph.js';
import { copyArrays } from './training-state.js';

export interface StepRequest {
  /** The inputs of the model and those that the objective added. */
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly learningRate: number;
}

export interface StepResult {
  readonly loss: number;
  /** First output of the model, before the parameters moved. */
  readonly output: Tensor;
}

/** What takes the steps of a training, in whichever way. */
export type StepTaker = Pick<TrainingSession, 'stepsPerRun' | 'run' | 'parameters' | 'arrays' | 'restore' | 'close'>;

/** Must be closed. */
export class TrainingSession {
  private readonly moving: MovingState;
  private readonly stored: ReadonlyMap<string, Tensor>;
  private readonly fetches: readonly string[];
  private readonly length = new RunLength();
  /** Batches of one run, by input. */
  private readonly stacks = new Map<string, Uint8Array>();

  private constructor(
    private readonly session: ExecutionSession,
    private readonly graph: TrainingGraph,
    private readonly optimizer: OptimizerStep,
    private readonly loop: StepLoop,
  ) {
    this.stored = storedFeeds(session, graph);
    this.moving = new MovingState(optimizer);
    this.fetches = [...this.moving.outputs, ...loop.observed];
  }

  /** Throws RangeError for a graph that was made without an optimizer. */
  static async open(runtime: Runtime, graph: TrainingGraph): Promise<TrainingSession> {
    const { optimizer } = graph;
    if (!optimizer) throw new RangeError('the training graph has no optimizer');
    const loop = loopOverSteps(graph, optimizer);
    return new TrainingSession(await runtime.open(loop.model, stepSessionOptions(graph)), graph, optimizer, loop);
  }

  /** Steps that the next run should take: many of a small model, one of a large one. Nothing but time and memory depends on it. */
  get stepsPerRun(): number {
    return this.length.steps;
  }

  /**
   * One run of the runtime: step `first`, counted from 1, and those behind it. Parameters and running statistics move.
   * Returns what each step found.
   */
  async run(first: number, steps: readonly StepRequest[]): Promise<StepResult[]> {
    const started = performance.now();
    const feeds = new Map([...this.stored, ...this.moving.feeds, ...this.stackedFeeds(steps), ...this.stackedRates(first, steps)]);
    const found = await this.session.run(feeds, this.fetches);
    this.moving.move(found);
    const observed = new Map(this.loop.observed.map((name) => [name, unstacked(found.get(name) as Tensor)] as const));
    const at = (name: string, step: number): Tensor => observed.get(name)?.[step] as Tensor;
    for (const step of steps.keys())
      for (const each of this.graph.statistics)
        updateStatistics(each, float32Values(at(each.batchMean, step)), float32Values(at(each.batchVariance, step)));
    this.length.took(performance.now() - started, steps.length);
    return steps.map((_, step) => ({
      loss: float32Values(at(this.graph.loss, step))[0] ?? Number.NaN,
      output: at(this.graph.output, step),
    }));
  }

  private stackedRates(first: number, steps: readonly StepRequest[]): (readonly [string, Tensor])[] {
    const rates = steps.map(({ learningRate }, at) => this.optimizer.ratesAt(first + at, learningRate));
    const names = [...(rates[0]?.keys() ?? [])];
    return names.map(
      (name) =>
        [
          name,
          float32Tensor(
            [steps.length],
            rates.map((each) => each.get(name) ?? Number.NaN),
          ),
        ] as const,
    );
  }

  /** Of the batches what the graph takes, all steps of an input in one piece of memory. */
  private stackedFeeds(steps: readonly StepRequest[]): (readonly [string, Tensor])[] {
    let bytes = 0;
    const stacked = this.loop.sequences.flatMap((name) => {
      const parts = steps.flatMap(({ feeds }) => feeds.get(name) ?? []);
      bytes += parts[0]?.data.byteLength ?? 0;
      return parts.length === 0 ? [] : [[name, this.stack(name, parts)] as const];
    });
    this.length.weighed(bytes);
    return stacked;
  }

  private stack(name: string, parts: readonly Tensor[]): Tensor {
    const [{ dataType, dims, data }] = parts as readonly [Tensor];
    if (parts.length === 1) return { dataType, dims: [1, ...dims], data };
    const length = parts.length * data.byteLength;
    const known = this.stacks.get(name);
    const bytes = known?.byteLength === length ? known : new Uint8Array(length);
    this.stacks.set(name, bytes);
    for (const [at, part] of parts.entries()) bytes.set(part.data.read(), at * data.byteLength);
    return { dataType, dims: [parts.length, ...dims], data: bytesInMemory(bytes) };
  }

  /** The trained parameters by name. Views: good until the next run. */
  parameters(): Map<string, Float32Array> {
    return this.moving.parameters(this.graph.parameters);
  }

  /** Everything that moves, by `parameter/<name>`, `<buffer>/<name>` and `statistics/<name>`. Views: good until the next run. */
  arrays(): Map<string, Float32Array> {
    const statistics: readonly Parameter[] = this.graph.statistics.flatMap(({ mean, variance }) => [mean, variance]);
    return new Map([...this.moving.arrays(), ...statistics.map(({ name, values }) => [`statistics/${name}`, values] as const)]);
  }

  /** Copies. Throws RangeError when the arrays are not those of a session of this graph; nothing is half restored. */
  restore(arrays: ReadonlyMap<string, Float32Array>): void {
    copyArrays(arrays, this.arrays());
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

/** The values of the single steps: views. */
function unstacked(tensor: Tensor): Tensor[] {
  const [count = 0, ...dims] = tensor.dims;
  return Array.from({ length: count }, (_, at) => ({ ...partOfRows(tensor, at, count), dims }));
}

/**
 * r = momentum r + (1 - momentum) b (ONNX BatchNormalization). The variance of the batch is that of the population; the
 * running one estimates that of the data, so it takes b n / (n - 1) (Ioffe and Szegedy 2015, algorithm 2; PyTorch does so).
 */
function updateStatistics(
  { mean, variance, momentum, count }: RunningStatistics,
  batchMean: Float32Array,
  batchVariance: Float32Array,
): void {
  const unbiased = count > 1 ? count / (count - 1) : 1;
  blend(mean, batchMean, { momentum, factor: 1 });
  blend(variance, batchVariance, { momentum, factor: unbiased });
}

function blend({ values }: Parameter, batch: Float32Array, { momentum, factor }: { momentum: number; factor: number }): void {
  for (let at = 0; at < values.length; at++) values[at] = momentum * (values[at] ?? 0) + (1 - momentum) * factor * (batch[at] ?? 0);
}
