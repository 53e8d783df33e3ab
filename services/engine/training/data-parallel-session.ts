/**
 * A step on several threads, each with a part of the batch: what a graph of many small operators is fastest with. The runtime's own threads
 * divide one operator at a time, and short ones not at all.
 */
import { bytesInMemory, float32Tensor, float32Values, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { partOf } from './batch-parts.js';
import { MovingState } from './moving-state.js';
import type { UpdateOptions } from './optimizer.js';
import { stepFeeds, stepSessionOptions, storedFeeds } from './step-session.js';
import type { TrainingGraph } from './training-graph.js';
import type { StepRequest, StepResult, StepTaker } from './training-session.js';
import { copyArrays } from './training-state.js';
import { type UpdateGraph, updateGraph } from './update-graph.js';

interface Sessions {
  /** One per part of the batch, the last on this thread. */
  readonly parts: readonly ExecutionSession[];
  readonly update: ExecutionSession;
}

/** Must be closed. */
export class DataParallelSession implements StepTaker {
  readonly stepsPerRun = 1;
  private readonly moving: MovingState;
  private readonly stored: ReadonlyMap<string, Tensor>;
  private readonly fetches: readonly string[];

  private constructor(
    private readonly sessions: Sessions,
    private readonly graph: TrainingGraph,
    private readonly updates: UpdateGraph,
  ) {
    this.moving = new MovingState(updates.optimizer);
    this.stored = storedFeeds(sessions.parts[0] as ExecutionSession, graph);
    this.fetches = [...new Set([graph.loss, graph.output, ...graph.gradients.values()])];
  }

  /** `graph`: loss and gradients of one of `parts` parts of a batch, without an optimizer, its loss a mean over samples. */
  static async open(runtime: Runtime, graph: TrainingGraph, { parts, options }: { parts: number; options: UpdateOptions }) {
    const updates = updateGraph(
      graph.parameters.filter(({ name }) => graph.gradients.has(name)),
      parts,
      options,
    );
    const opened: ExecutionSession[] = [];
    const opening = async (session: Promise<ExecutionSession>): Promise<ExecutionSession> => {
      opened.push(await session);
      return opened.at(-1) as ExecutionSession;
    };
    try {
      const own = { ...stepSessionOptions(graph), threads: 1 };
      const sessions: ExecutionSession[] = [];
      for (let part = 0; part + 1 < parts; part++) sessions.push(await opening(runtime.openOnThread(graph.model, own)));
      sessions.push(await opening(runtime.open(graph.model, own)));
      const update = await opening(runtime.open(updates.model, { threads: 1 }));
      return new DataParallelSession({ parts: sessions, update }, graph, updates);
    } catch (error) {
      for (const session of opened) await session.close();
      throw error;
    }
  }

  /** Step `first`, counted from 1, and those behind it. Returns what each found. */
  async run(first: number, steps: readonly StepRequest[]): Promise<StepResult[]> {
    const results: StepResult[] = [];
    for (const [at, step] of steps.entries()) results.push(await this.step(first + at, step));
    return results;
  }

  private async step(step: number, { feeds, learningRate }: StepRequest): Promise<StepResult> {
    const { parts, update } = this.sessions;
    const own = [...this.stored, ...this.moving.feeds];
    const found = await Promise.all(
      parts.map((session, part) =>
        session.run(stepFeeds(session, own.filter(isInputOf(session)), partOf(feeds, part, parts.length)), this.fetches),
      ),
    );
    const gradients = found.flatMap((results, part) =>
      [...this.graph.gradients].map(
        ([parameter, name]) => [this.updates.gradientInput(parameter, part), results.get(name) as Tensor] as const,
      ),
    );
    const rates = [...this.updates.optimizer.ratesAt(step, learningRate)].map(([name, rate]) => [name, float32Tensor([], [rate])] as const);
    this.moving.move(await update.run(new Map([...this.moving.feeds, ...gradients, ...rates]), this.moving.outputs));
    return {
      loss: mean(found.map((results) => float32Values(results.get(this.graph.loss) as Tensor)[0] ?? Number.NaN)),
      output: joined(found.map((results) => results.get(this.graph.output) as Tensor)),
    };
  }

  /** The trained parameters by name. Views: good until the next step. */
  parameters(): Map<string, Float32Array> {
    return this.moving.parameters(this.graph.parameters);
  }

  /** As a TrainingSession names them. Views: good until the next step. */
  arrays(): Map<string, Float32Array> {
    return this.moving.arrays();
  }

  /** Copies. Throws RangeError when the arrays are not those of a session of this graph; nothing is half restored. */
  restore(arrays: ReadonlyMap<string, Float32Array>): void {
    copyArrays(arrays, this.arrays());
  }

  async close(): Promise<void> {
    for (const session of [...this.sessions.parts, this.sessions.update]) await session.close();
  }
}

function isInputOf({ inputs }: ExecutionSession): (entry: readonly [string, Tensor]) => boolean {
  const names = new Set(inputs.map(({ name }) => name));
  return ([name]) => names.has(name);
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Rows one below the other. */
function joined(tensors: readonly Tensor[]): Tensor {
  const [{ dataType, dims }] = tensors as readonly [Tensor];
  const parts = tensors.map(({ data }) => data.read());
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return { dataType, dims: [(dims[0] ?? 1) * tensors.length, ...dims.slice(1)], data: bytesInMemory(bytes) };
}
