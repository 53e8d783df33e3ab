/** A teacher answers batches: outputs and intermediate values of a trained model, kept for samples that come again unchanged. */
import { float32Tensor, float32Values, type Model, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { withOutputs } from '../runtime/trace.js';
import type { TeacherShapes } from './objective.js';

/** Answers that are kept, in all: a pass over a data set of a hundred thousand class scores is far below. */
const KEPT_BYTES_MAX = 128 * 2 ** 20;

/** Sizes of everything the teacher computes for one batch. */
export async function teacherShapes(runtime: Runtime, model: Model, feeds: ReadonlyMap<string, Tensor>): Promise<TeacherShapes> {
  const { shapes } = await observeShapes(runtime, { model, feeds });
  return { outputs: model.graph.outputs.map(({ name }) => name), shapes };
}

export interface TeacherBatch {
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Identity of each row when it is always the same; undefined for rows that augmentation changed. */
  readonly samples?: ArrayLike<number>;
}

/** Must be closed. */
export class Teacher {
  private readonly kept = new Map<number, readonly Float32Array[]>();
  private keptBytes = 0;

  private constructor(
    private readonly session: ExecutionSession,
    private readonly wanted: readonly string[],
  ) {}

  /** `wanted`: names of outputs or of values of the main graph. */
  static async open(runtime: Runtime, model: Model, wanted: readonly string[]): Promise<Teacher> {
    const outputs = new Set(model.graph.outputs.map(({ name }) => name));
    const inner = wanted.filter((name) => !outputs.has(name));
    const config = { 'session.intra_op.allow_spinning': '1' };
    return new Teacher(await runtime.open(inner.length > 0 ? withOutputs(model, inner) : model, { config }), wanted);
  }

  async answers({ feeds, samples }: TeacherBatch): Promise<Map<string, Tensor>> {
    if (!samples) return this.session.run(feeds, this.wanted);
    const known = Array.from(samples, (sample) => this.kept.get(sample));
    if (!known.every((rows) => rows !== undefined)) {
      const found = await this.session.run(feeds, this.wanted);
      this.keep(found, samples);
      return found;
    }
    return this.recall(known);
  }

  close(): Promise<void> {
    return this.session.close();
  }

  private rowDims = new Map<string, readonly number[]>();

  private keep(found: ReadonlyMap<string, Tensor>, samples: ArrayLike<number>): void {
    const bytes = this.wanted.reduce((sum, name) => sum + (found.get(name)?.data.byteLength ?? 0), 0);
    if (this.keptBytes + bytes > KEPT_BYTES_MAX) return;
    if (this.wanted.some((name) => found.get(name)?.dims[0] !== samples.length)) return;
    this.keptBytes += bytes;
    for (const name of this.wanted) this.rowDims.set(name, found.get(name)?.dims.slice(1) ?? []);
    const values = this.wanted.map((name) => float32Values(found.get(name) as Tensor));
    for (let row = 0; row < samples.length; row++) {
      this.kept.set(
        samples[row] ?? 0,
        values.map((each) => each.slice((each.length / samples.length) * row, (each.length / samples.length) * (row + 1))),
      );
    }
  }

  private recall(known: readonly (readonly Float32Array[])[]): Map<string, Tensor> {
    return new Map(
      this.wanted.map((name, at) => {
        const length = known[0]?.[at]?.length ?? 0;
        const joined = new Float32Array(length * known.length);
        for (const [row, values] of known.entries()) joined.set(values[at] ?? [], row * length);
        return [name, float32Tensor([known.length, ...(this.rowDims.get(name) ?? [])], joined)] as const;
      }),
    );
  }
}
