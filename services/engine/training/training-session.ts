/** Runs the training graph, optimizer included: one batch in, the loss out. What a step moved is what the next one reads. */
import { float32Tensor, float32Values, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import type { OptimizerStep } from './optimizer.js';
import { stepFeeds, stepSessionOptions, storedFeeds } from './step-session.js';
import type { Parameter, RunningStatistics } from './trainable-model.js';
import type { TrainingGraph } from './training-graph.js';
import { copyArrays } from './training-state.js';

export interface StepResult {
  readonly loss: number;
  /** First output of the model, before the parameters moved. */
  readonly output: Tensor;
}

/** Must be closed. */
export class TrainingSession {
  /** By graph input: what the last step made, or what the first begins with. */
  private readonly moving: Map<string, Tensor>;
  private readonly stored: ReadonlyMap<string, Tensor>;
  private readonly fetches: readonly string[];

  private constructor(
    private readonly session: ExecutionSession,
    private readonly graph: TrainingGraph,
    private readonly optimizer: OptimizerStep,
  ) {
    this.stored = storedFeeds(session, graph);
    this.moving = new Map(optimizer.moving.map(({ input, dims, initial }) => [input, float32Tensor(dims, initial)]));
    this.fetches = [
      ...new Set([graph.loss, graph.output, ...optimizer.moving.map(({ output }) => output)]),
      ...graph.statistics.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]),
    ];
  }

  /** Throws RangeError for a graph that was made without an optimizer. */
  static async open(runtime: Runtime, graph: TrainingGraph): Promise<TrainingSession> {
    const { optimizer } = graph;
    if (!optimizer) throw new RangeError('the training graph has no optimizer');
    return new TrainingSession(await runtime.open(graph.model, stepSessionOptions), graph, optimizer);
  }

  /** `feeds`: the inputs of the model and those that the objective added. `step` is counted from 1. Parameters and running statistics move. */
  async step(feeds: ReadonlyMap<string, Tensor>, step: number, learningRate: number): Promise<StepResult> {
    const rates = [...this.optimizer.ratesAt(step, learningRate)].map(([name, rate]) => [name, float32Tensor([], [rate])] as const);
    const own = [...this.stored, ...this.moving, ...rates];
    const found = await this.session.run(stepFeeds(this.session, own, feeds), this.fetches);
    for (const { input, output } of this.optimizer.moving) this.moving.set(input, found.get(output) as Tensor);
    const values = (name: string): Float32Array => float32Values(found.get(name) as Tensor);
    for (const each of this.graph.statistics) updateStatistics(each, values(each.batchMean), values(each.batchVariance));
    return { loss: values(this.graph.loss)[0] ?? Number.NaN, output: found.get(this.graph.output) as Tensor };
  }

  /** The trained parameters by name. Views: good until the next step. */
  parameters(): Map<string, Float32Array> {
    return new Map(
      this.graph.parameters.flatMap(({ name }) => {
        const tensor = this.moving.get(name);
        return tensor ? [[name, float32Values(tensor)] as const] : [];
      }),
    );
  }

  /** Everything that moves, by `parameter/<name>`, `<buffer>/<name>` and `statistics/<name>`. Views: good until the next step. */
  arrays(): Map<string, Float32Array> {
    const statistics: readonly Parameter[] = this.graph.statistics.flatMap(({ mean, variance }) => [mean, variance]);
    return new Map([
      ...this.optimizer.moving.map(({ key, input }) => [key, float32Values(this.moving.get(input) as Tensor)] as const),
      ...statistics.map(({ name, values }) => [`statistics/${name}`, values] as const),
    ]);
  }

  /** Copies. Throws RangeError when the arrays are not those of a session of this graph; nothing is half restored. */
  restore(arrays: ReadonlyMap<string, Float32Array>): void {
    copyArrays(arrays, this.arrays());
  }

  close(): Promise<void> {
    return this.session.close();
  }
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
