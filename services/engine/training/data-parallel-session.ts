/**
 * A step on several threads, each with a part of the batch: what a graph of many small operators is fastest with. The runtime's own threads
 * divide one operator at a time, and short ones not at all.
 */
import { float32Tensor, float32Values, joinRows, type Tensor } from '../ir/index.js';
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
  /** By input of the update: filled anew each step, as garbage of their size would pile up. */
  private readonly gradients = new Map<string, Float32Array>();

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
    const own = { ...stepSessionOptions(graph), threads: 1 };
    const opened: ExecutionSession[] = [];
    try {
      while (opened.length + 1 < parts) opened.push(await runtime.openOnThread(graph.model, own));
      opened.push(await runtime.open(graph.model, own));
      const update = await runtime.open(updates.model, { threads: 1 });
      return new DataParallelSession({ parts: opened, update }, graph, updates);
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
    const { optimizer } = this.updates;
    const own = [...this.stored, ...this.parameterFeeds()];
    const found = await Promise.all(
      parts.map((session, part) => session.run(stepFeeds(session, own, partOf(feeds, part, parts.length)), this.fetches)),
    );
    const rates = [...optimizer.ratesAt(step, learningRate)].map(([name, rate]) => [name, float32Tensor([], [rate])] as const);
    const gradients = found.flatMap((results, part) => this.gradientFeeds(results, part));
    this.moving.move(await update.run(new Map([...this.moving.feeds, ...gradients, ...rates]), this.moving.outputs));
    return {
      loss: mean(found.map((results) => float32Values(results.get(this.graph.loss) as Tensor)[0] ?? Number.NaN)),
      output: joinRows(found.map((results) => results.get(this.graph.output) as Tensor)),
    };
  }

  private parameterFeeds(): (readonly [string, Tensor])[] {
    const found = this.parameters();
    return this.updates.groups.flatMap(({ members }) =>
      members.map(({ name, dims }) => [name, float32Tensor(dims, found.get(name) ?? [])] as const),
    );
  }

  private gradientFeeds(results: ReadonlyMap<string, Tensor>, part: number): (readonly [string, Tensor])[] {
    return this.updates.groups.map(({ role, size, members }) => {
      const key = this.updates.gradientInput(role, part);
      const values = this.gradients.get(key) ?? new Float32Array(size);
      this.gradients.set(key, values);
      for (const { name, from } of members) values.set(float32Values(results.get(this.graph.gradients.get(name) ?? '') as Tensor), from);
      return [key, float32Tensor([size], values)] as const;
    });
  }

  /** The trained parameters by name. Views: good until the next step. */
  parameters(): Map<string, Float32Array> {
    return this.views('parameter');
  }

  /** As a TrainingSession names them. Views: good until the next step. */
  arrays(): Map<string, Float32Array> {
    const kinds = new Set([...this.moving.arrays().keys()].map((key) => key.slice(0, key.indexOf('/'))));
    return new Map([...kinds].flatMap((kind) => [...this.views(kind)].map(([name, values]) => [`${kind}/${name}`, values] as const)));
  }

  /** The members of the groups in the arrays `<kind>/<role>`. */
  private views(kind: string): Map<string, Float32Array> {
    const arrays = this.moving.arrays();
    return new Map(
      this.updates.groups.flatMap(({ role, members }) =>
        members.map(({ name, from, to }) => [name, arrays.get(`${kind}/${role}`)?.subarray(from, to) ?? new Float32Array()] as const),
      ),
    );
  }

  /** Copies. Throws RangeError when the arrays are not those of a session of this graph; nothing is half restored. */
  restore(arrays: ReadonlyMap<string, Float32Array>): void {
    copyArrays(arrays, this.arrays());
  }

  async close(): Promise<void> {
    for (const session of [...this.sessions.parts, this.sessions.update]) await session.close();
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
