/** Runs a training graph without an optimizer: one batch in, loss and gradients out. */
import { float32Values, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { stepFeeds, stepSessionOptions, storedFeeds } from './step-session.js';
import type { TrainingGraph } from './training-graph.js';

export interface BatchGradients {
  readonly loss: number;
  /** dL/dp by parameter, in the order of its elements. Views of the runtime's memory: good until the next run. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
  /** First output of the model. */
  readonly output: Tensor;
}

/** Must be closed. */
export class GradientSession {
  private readonly state: ReadonlyMap<string, Tensor>;
  private readonly fetches: readonly string[];

  private constructor(
    private readonly session: ExecutionSession,
    private readonly graph: TrainingGraph,
  ) {
    this.state = storedFeeds(session, graph);
    this.fetches = [...new Set([graph.loss, graph.output, ...graph.gradients.values()])];
  }

  static async open(runtime: Runtime, graph: TrainingGraph): Promise<GradientSession> {
    return new GradientSession(await runtime.open(graph.model, stepSessionOptions(graph)), graph);
  }

  /** `feeds`: the inputs of the model and those that the objective added. The parameters are as the graph holds them. */
  async run(feeds: ReadonlyMap<string, Tensor>): Promise<BatchGradients> {
    const found = await this.session.run(stepFeeds(this.session, this.state, feeds), this.fetches);
    const values = (name: string): Float32Array => float32Values(found.get(name) as Tensor);
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
