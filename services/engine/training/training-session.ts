/** Runs the training graph: one batch in, loss and gradients out. The numbers stay in typed arrays between the steps. */
import { float32Values, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { type Parameter, parameterTensor, type RunningStatistics } from './trainable-model.js';
import type { TrainingGraph } from './training-graph.js';

export interface BatchResult {
  readonly loss: number;
  /** dL/dp by parameter, in the order of its elements. Views of the runtime's memory: good until the next step. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** First output of the model. */
  readonly output: Tensor;
}

/** Must be closed. */
export class TrainingSession {
  private readonly state: ReadonlyMap<string, Tensor>;
  private readonly fetches: readonly string[];

  private constructor(
    private readonly session: ExecutionSession,
    private readonly graph: TrainingGraph,
  ) {
    const wanted = new Set(session.inputs.map(({ name }) => name));
    const statistics = graph.statistics.flatMap(({ mean, variance }) => [mean, variance]);
    this.state = new Map(
      [...graph.parameters, ...statistics].filter(({ name }) => wanted.has(name)).map((each) => [each.name, parameterTensor(each)]),
    );
    this.fetches = [
      ...new Set([graph.loss, graph.output, ...graph.gradients.values()]),
      ...graph.statistics.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]),
    ];
  }

  /**
   * Spinning threads: steps follow each other without a pause, so sleeping between operators only costs. No memory pattern:
   * its block lies beside what the first step allocated. Peak of the process for the ViT of the benchmark 659 and 420 MB.
   */
  static async open(runtime: Runtime, graph: TrainingGraph): Promise<TrainingSession> {
    const session = await runtime.open(graph.model, {
      memoryPattern: false,
      config: {
        'session.intra_op.allow_spinning': '1',
        'session.use_deterministic_compute': '1',
        'session.disable_quant_qdq': '1',
        'session.disable_double_qdq_remover': '1',
      },
    });
    return new TrainingSession(session, graph);
  }

  /** `feeds`: the inputs of the model and those that the objective added. Running statistics move; parameters do not. */
  async run(feeds: ReadonlyMap<string, Tensor>): Promise<BatchResult> {
    const wanted = new Map(this.state);
    for (const { name } of this.session.inputs) {
      const feed = feeds.get(name);
      if (feed) wanted.set(name, feed);
    }
    const found = await this.session.run(wanted, this.fetches);
    const values = (name: string): Float32Array => float32Values(found.get(name) as Tensor);
    for (const each of this.graph.statistics) updateStatistics(each, values(each.batchMean), values(each.batchVariance));
    return {
      loss: values(this.graph.loss)[0] ?? Number.NaN,
      gradients: new Map([...this.graph.gradients].map(([parameter, output]) => [parameter, values(output)])),
      output: found.get(this.graph.output) as Tensor,
    };
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
