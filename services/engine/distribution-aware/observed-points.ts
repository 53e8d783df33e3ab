/** Runs the float model with its recurrent layers taken apart, and keeps of every point a sample of its rows and its extremes. */
import { cloneModel, concatenated, float32Values, GraphWriter, type Model, NameAuthority } from '../ir/index.js';
import type { MethodContext, SampleRun } from '../method.js';
import { observedForm } from './point-form.js';
import { type Point, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import type { ObservedPoint } from './range-choice.js';
import { rewriteGraph } from './rewritten-graph.js';

/** Rows that are kept of a point. */
const ROWS_MAX = 4096;

export interface Observation {
  readonly points: ReadonlyMap<string, ObservedPoint>;
  /** Mean by channel of every point. */
  readonly means: ReadonlyMap<string, Float64Array>;
  /** Numbers of one sample, by point. */
  readonly elements: ReadonlyMap<string, number>;
  /** First axis of every point: of what a recurrent layer reads, the steps. */
  readonly firstAxes: ReadonlyMap<string, number>;
}

export async function observePoints(
  model: Model,
  plan: QuantizationPlan,
  runs: readonly SampleRun[],
  context: MethodContext,
): Promise<Observation> {
  const copy = cloneModel(model);
  const names = new NameAuthority(copy);
  const write = new GraphWriter(copy, names, copy.graph, 'observed');
  const taps = new Map<string, string>();
  const form = observedForm((point, value) => {
    const shown = write.node('Identity', [value]);
    shown.type = { kind: 'tensor', dataType: 'float32', shape: null };
    copy.graph.outputs.push(shown);
    taps.set(point.id, shown.name);
  });
  rewriteGraph(plan, { model: copy, names, write, form });
  const session = await context.runtime.open(copy);
  const samples = runs.reduce((sum, { rows }) => sum + rows, 0);
  const sums = new Map(pointsOf(plan).map((point) => [point.id, new PointRecord(point, runs.length)]));
  const firstAxes = new Map<string, number>();
  try {
    for (const { feeds } of runs) {
      context.signal.throwIfAborted();
      const outputs = await session.run(feeds, [...taps.values()]);
      for (const [id, name] of taps) {
        const tensor = outputs.get(name);
        if (!tensor) continue;
        firstAxes.set(id, tensor.dims[0] ?? 1);
        sums.get(id)?.add(float32Values(tensor));
      }
    }
  } finally {
    await session.close();
  }
  return {
    firstAxes,
    points: new Map([...sums].map(([id, record]) => [id, record.observed])),
    means: new Map([...sums].map(([id, record]) => [id, record.means])),
    elements: new Map([...sums].map(([id, record]) => [id, record.elements / samples])),
  };
}

class PointRecord {
  private readonly kept: Float32Array[] = [];
  private readonly low: Float32Array;
  private readonly high: Float32Array;
  private readonly sums: Float64Array;
  private rows = 0;
  private readonly perRun: number;

  constructor(
    private readonly point: Point,
    runs: number,
  ) {
    this.low = new Float32Array(point.channels).fill(Number.POSITIVE_INFINITY);
    this.high = new Float32Array(point.channels).fill(Number.NEGATIVE_INFINITY);
    this.sums = new Float64Array(point.channels);
    this.perRun = Math.max(1, Math.floor(ROWS_MAX / Math.max(1, runs)));
  }

  add(values: Float32Array): void {
    const { channels } = this.point;
    const rows = Math.floor(values.length / channels);
    for (let row = 0, at = 0; row < rows; row += 1)
      for (let channel = 0; channel < channels; channel += 1, at += 1) {
        const value = values[at] ?? 0;
        if (value < (this.low[channel] ?? 0)) this.low[channel] = value;
        if (value > (this.high[channel] ?? 0)) this.high[channel] = value;
        this.sums[channel] = (this.sums[channel] ?? 0) + value;
      }
    this.rows += rows;
    const wanted = Math.min(rows, this.perRun);
    const part = new Float32Array(wanted * channels);
    for (let at = 0; at < wanted; at += 1) {
      const row = Math.floor((at * rows) / wanted);
      part.set(values.subarray(row * channels, (row + 1) * channels), at * channels);
    }
    this.kept.push(part);
  }

  get observed(): ObservedPoint {
    return { rows: concatenated(this.kept), low: this.low, high: this.high };
  }

  get elements(): number {
    return this.rows * this.point.channels;
  }

  get means(): Float64Array {
    return this.sums.map((sum) => sum / Math.max(1, this.rows));
  }
}
