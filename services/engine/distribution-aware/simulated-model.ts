/** The forecaster with every rounding fed: one session answers for all ranges, widths, weights and biases. */
import {
  cloneModel,
  concatenated,
  elementCount,
  float32Tensor,
  float32Values,
  GraphWriter,
  type Model,
  NameAuthority,
  type Tensor,
  type Value,
} from '../ir/index.js';
import { channelCount, channelDepth, fromRows, toRows } from '../layers/channel-layout.js';
import { WeightStore } from '../layers/weight-store.js';
import type { MethodContext, SampleRun } from '../method.js';
import { roundLayer } from '../quantization/weight-storage/index.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { headBias } from './head-fit.js';
import type { Answers } from './output-distance.js';
import { type ArithmeticForm, codesOf, fedForm, type PointCodes, type PointForm, type PointRange, roundingFeeds } from './point-form.js';
import { type PlannedWeight, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { rewriteGraph } from './rewritten-graph.js';

/** A weight in codes: value = scale of its row times code. */
export interface RoundedWeight {
  readonly bits: number;
  /** [channels, depth] */
  readonly codes: Int32Array;
  readonly scales: Float32Array;
}

/** Everything that makes the quantized forecaster. */
export interface Settings {
  readonly bits: ReadonlyMap<string, number>;
  readonly ranges: ReadonlyMap<string, PointRange>;
  /** Scales that training moved; the others follow from the ranges. */
  readonly scales?: ReadonlyMap<string, Float32Array>;
  readonly weights: ReadonlyMap<string, RoundedWeight>;
  /** Constants that were corrected, by name. */
  readonly biases: ReadonlyMap<string, Float32Array>;
}

export function pointCodes(settings: Settings, id: string): PointCodes {
  const range = settings.ranges.get(id);
  if (!range) throw new RangeError(`pointCodes: no range of "${id}"`);
  const codes = codesOf(range, settings.bits.get(id) ?? 8);
  return { ...codes, scales: settings.scales?.get(id) ?? codes.scales };
}

/** `rows` [channels, depth] defaults to the weight as it is. */
export function roundWeight(planned: PlannedWeight, bits: number, rows?: Float64Array): RoundedWeight {
  const { constant, layout, rounding, perChannel } = planned;
  const values = rows ?? toRows(float32Values(constant.tensor), layout);
  const channels = channelCount(layout);
  if (perChannel) return { bits, ...roundLayer({ rows: values, channels, depth: channelDepth(layout), bits }, rounding) };
  const { codes, scales } = roundLayer({ rows: values, channels: 1, depth: values.length, bits }, rounding);
  return { bits, codes, scales: new Float32Array(channels).fill(scales[0] ?? 1) };
}

/** The graph, and what its inputs take. */
class SimulatedGraph {
  readonly model: Model;
  /** Graph outputs that show what heads read and what points are before their rounding, by key. */
  readonly shown = new Map<string, string>();
  private readonly write: GraphWriter;
  private readonly form: ArithmeticForm;
  private readonly fedWeights = new Map<string, { readonly input: string; readonly planned: PlannedWeight }>();
  private readonly fedBiases = new Map<string, { readonly input: string; readonly tensor: Tensor }>();

  constructor(
    source: Model,
    private readonly plan: QuantizationPlan,
    { shows }: { readonly shows: boolean },
  ) {
    this.model = cloneModel(source);
    const names = new NameAuthority(this.model);
    this.write = new GraphWriter(this.model, names, this.model.graph, 'simulated');
    this.form = fedForm(this.write);
    const heads = plan.heads.map(({ dense, output }) => ({ node: this.model.graph.nodes[source.graph.nodes.indexOf(dense.node)], output }));
    rewriteGraph(plan, { model: this.model, names, write: this.write, form: shows ? this.showing() : this.form });
    for (const { node, output } of heads) if (node?.inputs[0]) this.show(`head ${output}`, node.inputs[0]);
    this.feedConstants();
  }

  /** The same rounding, with every point seen before it. */
  private showing(): PointForm {
    const { form } = this;
    return {
      store: form.store.bind(form),
      load: form.load.bind(form),
      storedType: form.storedType,
      observe: (point, value) => this.show(`point ${point.id}`, value),
    };
  }

  private show(key: string, value: Value): void {
    const shown = this.write.node('Identity', [value]);
    shown.type = { kind: 'tensor', dataType: 'float32', shape: null };
    this.model.graph.outputs.push(shown);
    this.shown.set(key, shown.name);
  }

  private feedConstants(): void {
    const { model } = this;
    const store = new WeightStore(model);
    const constants = new Map(store.all().map((constant) => [constant.value.name, constant]));
    const feed = (name: string): { input: string; tensor: Tensor } | null => {
      const found = constants.get(name);
      if (!found) return null;
      const { value, tensor } = found;
      const input = store.newValue(`${name} fed`);
      input.type = { kind: 'tensor', dataType: 'float32', shape: tensor.dims };
      model.graph.inputs.push(input);
      for (const { node, index } of value.uses) node.setInput(index, input);
      store.dropIfUnread(found);
      return { input: input.name, tensor };
    };
    for (const planned of this.plan.weights) {
      const fed = feed(planned.constant.value.name);
      if (fed) this.fedWeights.set(planned.constant.value.name, { input: fed.input, planned });
    }
    for (const name of new Set(biasNames(this.plan))) {
      const fed = feed(name);
      if (fed) this.fedBiases.set(name, fed);
    }
  }

  /** Value of a bias as it is in the float model, by name; undefined for one that the plan does not move. */
  floatBias(name: string): Float32Array | undefined {
    const fed = this.fedBiases.get(name);
    return fed && float32Values(fed.tensor);
  }

  feeds(settings: Settings): Map<string, Tensor> {
    const feeds = new Map<string, Tensor>();
    for (const { id } of pointsOf(this.plan)) {
      const values = this.form.known(id);
      if (values) for (const [name, tensor] of roundingFeeds(values, pointCodes(settings, id))) feeds.set(name, tensor);
    }
    for (const [name, { input, planned }] of this.fedWeights) {
      const rounded = settings.weights.get(name);
      feeds.set(input, rounded ? widened(planned, rounded) : planned.constant.tensor);
    }
    for (const [name, { input, tensor }] of this.fedBiases) {
      const moved = settings.biases.get(name);
      feeds.set(input, moved ? float32Tensor(tensor.dims, moved) : tensor);
    }
    return feeds;
  }
}

export class SimulatedModel {
  private constructor(
    private readonly graph: SimulatedGraph,
    private readonly session: ExecutionSession,
    private readonly outputs: readonly string[],
  ) {}

  /** `shows` keeps what the points are before their rounding at hand: slower, and needed for corrections only. */
  static async open(model: Model, plan: QuantizationPlan, context: MethodContext, { shows = false } = {}): Promise<SimulatedModel> {
    const graph = new SimulatedGraph(model, plan, { shows });
    const outputs = model.graph.outputs.map(({ name }) => name);
    return new SimulatedModel(graph, await context.runtime.open(graph.model), outputs);
  }

  /** Value of a bias as it is in the float model, by name; undefined for one that the plan does not move. */
  floatBias(name: string): Float32Array | undefined {
    return this.graph.floatBias(name);
  }

  /** The outputs for all samples, each sample's side by side. */
  async answers(settings: Settings, runs: readonly SampleRun[], signal: AbortSignal): Promise<Answers> {
    const parts: Float32Array[] = [];
    let samples = 0;
    const feeds = this.graph.feeds(settings);
    for (const run of runs) {
      signal.throwIfAborted();
      const outputs = await this.session.run(new Map([...run.feeds, ...feeds]), this.outputs);
      parts.push(sampleRows(outputs, run));
      samples += run.sampleCount;
    }
    return { samples, values: concatenated(parts) };
  }

  /** What was asked to be shown (`point ID` before its rounding, `head OUTPUT`: what the head reads), run after run. */
  async *shown(
    settings: Settings,
    keys: readonly string[],
    runs: readonly SampleRun[],
    signal: AbortSignal,
  ): AsyncGenerator<ReadonlyMap<string, Float32Array>> {
    const feeds = this.graph.feeds(settings);
    const names = keys.flatMap((key) => this.graph.shown.get(key) ?? []);
    for (const run of runs) {
      signal.throwIfAborted();
      const outputs = await this.session.run(new Map([...run.feeds, ...feeds]), names);
      yield new Map(
        keys.flatMap((key) => {
          const tensor = outputs.get(this.graph.shown.get(key) ?? '');
          return tensor ? [[key, float32Values(tensor)] as const] : [];
        }),
      );
    }
  }

  close(): Promise<void> {
    return this.session.close();
  }
}

/** Of vectors that may move: of recurrent layers, rounded products and heads. */
export function biasNames({ recurrents, biases, heads }: QuantizationPlan): string[] {
  return [...recurrents.map(({ bias }) => bias), ...biases.values(), ...heads.flatMap((head) => headBias(head)?.name ?? [])];
}

function widened({ constant, layout }: PlannedWeight, { codes, scales }: RoundedWeight): Tensor {
  const depth = channelDepth(layout);
  const rows = Float32Array.from(codes, (code, at) => code * (scales[Math.floor(at / depth)] ?? 1));
  return float32Tensor(constant.tensor.dims, fromRows(rows, layout, Float32Array));
}

/** Of several outputs one after the other; the rows that only fill a batch are left out. A run of one sample is that sample. */
export function sampleRows(outputs: ReadonlyMap<string, Tensor>, { rows, sampleCount }: SampleRun): Float32Array {
  const floats = [...outputs.values()].filter(({ dataType, dims }) => dataType === 'float32' && (rows === 1 || dims[0] === rows));
  const widths = floats.map(({ dims }) => elementCount(dims) / rows);
  const each = widths.reduce((sum, width) => sum + width, 0);
  const values = new Float32Array(sampleCount * each);
  let start = 0;
  for (const [at, tensor] of floats.entries()) {
    const width = widths[at] ?? 0;
    const source = float32Values(tensor);
    for (let sample = 0; sample < sampleCount; sample += 1)
      values.set(source.subarray(sample * width, (sample + 1) * width), sample * each + start);
    start += width;
  }
  return values;
}
