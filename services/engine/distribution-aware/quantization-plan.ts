/** What of a forecaster is rounded: the weights, and the tensors between them, each with its role and its number of channels. */
import { elementCount, type Model, type Node, type Value } from '../ir/index.js';
import { type ChannelLayout, channelLayout, matrixLayout } from '../layers/channel-layout.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { type Constant, reportName, WeightStore } from '../layers/weight-store.js';
import type { Role } from './options.js';
import { type RecurrentLayer, recurrentLayers } from './recurrent-layers.js';

/** A tensor that is rounded. Its channels lie along the last axis. */
export interface Point {
  readonly id: string;
  readonly role: Exclude<Role, 'weights'>;
  /** 1: one range for all. */
  readonly channels: number;
  /** What a number is read through before it counts, by channel: the error of a gate is that behind its function. */
  readonly readThrough?: (channel: number) => 'sigmoid' | 'tanh';
}

/** Tensors inside the loop of one direction of a layer. */
export interface DirectionPoints {
  readonly gates: Point;
  readonly hidden: Point;
  /** Of an LSTM. */
  readonly cell?: Point;
  /** Of a GRU, whose candidate is known later than its gates. */
  readonly candidate?: Point;
}

export interface PlannedRecurrent {
  /** Place of the node in the main graph: that of its copies, too. */
  readonly at: number;
  readonly layer: RecurrentLayer;
  readonly input: Point;
  readonly directions: readonly DirectionPoints[];
  /** Name of the bias [directions, 2 gates hidden] once there is one. */
  readonly bias: string;
}

/** A point on a value of the main graph: on all that reads it, or on one reading. */
export interface ValuePoint {
  readonly point: Point;
  readonly value: string;
  readonly reading?: { readonly at: number; readonly input: number };
}

export interface PlannedWeight {
  readonly constant: Constant;
  readonly layout: ChannelLayout;
  /** By the largest weight, or by least squared error. */
  readonly rounding: 'rtn' | 'mse';
  /** One scale for each row of the matrix, or one for all. */
  readonly perChannel: boolean;
}

/** A layer whose output nothing weighs any more. */
export interface Head {
  readonly dense: DenseLayer;
  /** Name of its output, the bias added. */
  readonly output: string;
}

export interface QuantizationPlan {
  readonly recurrents: readonly PlannedRecurrent[];
  readonly values: readonly ValuePoint[];
  readonly weights: readonly PlannedWeight[];
  readonly heads: readonly Head[];
  /** Vectors that are added to a rounded product, by the point they shift. */
  readonly biases: ReadonlyMap<string, string>;
  readonly left: readonly { readonly node: Node; readonly reason: string }[];
}

const movements: ReadonlySet<string> = new Set([
  ...['Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Slice', 'Gather', 'Concat', 'Identity', 'Flatten', 'Split', 'Expand'],
]);
/** Operators that a score passes between the product and Softmax. */
const scaling: ReadonlySet<string> = new Set(['Div', 'Mul', 'Add', ...movements]);

export interface PlanOptions extends Pick<PlannedWeight, 'rounding' | 'perChannel'> {
  readonly exclude: readonly string[];
}

export function planQuantization(model: Model, options: PlanOptions): QuantizationPlan {
  return new Planning(model, options).run();
}

export function pointsOf({ recurrents, values }: QuantizationPlan): readonly Point[] {
  const inner = recurrents.flatMap(({ input, directions }) => [input, ...directions.flatMap(innerPoints)]);
  return [...inner, ...values.map(({ point }) => point)];
}

/** In the order in which a step makes them. */
export function innerPoints({ gates, candidate, cell, hidden }: DirectionPoints): readonly Point[] {
  return [gates, ...(candidate ? [candidate] : []), ...(cell ? [cell] : []), hidden];
}

class Planning {
  private readonly store: WeightStore;
  private readonly places: ReadonlyMap<Node, number>;
  private readonly values: ValuePoint[] = [];
  private readonly weights = new Map<Constant, PlannedWeight>();
  private readonly left: { node: Node; reason: string }[] = [];
  private readonly biases = new Map<string, string>();
  private readonly ids = new Set<string>();
  /** Values that carry rounded numbers. */
  private readonly rounded = new Set<Value>();

  private readonly isExcluded: (name: string) => boolean;
  private readonly perChannel: boolean;

  constructor(
    private readonly model: Model,
    private readonly options: PlanOptions,
  ) {
    this.isExcluded = nameMatcher(options.exclude);
    this.perChannel = options.perChannel;
    this.store = new WeightStore(model);
    this.places = new Map(model.graph.nodes.map((node, at) => [node, at]));
  }

  run(): QuantizationPlan {
    const { layers, left } = recurrentLayers(this.model.graph, this.store, this.isExcluded);
    this.left.push(...left);
    const recurrents = layers.map((layer) => this.recurrent(layer));
    const dense = this.denseLayers();
    const heads = dense.filter((layer) => !reachesProduct(outputOf(layer)));
    for (const node of this.model.graph.nodes) {
      const layer = dense.find((each) => each.node === node);
      if (layer) this.dense(layer, heads.includes(layer));
      else if (node.opType === 'MatMul') this.product(node);
      else if (node.opType === 'Softmax') this.softmax(node);
    }
    return {
      recurrents,
      values: this.values,
      weights: [...this.weights.values()],
      heads: heads.map((layer) => ({ dense: layer, output: outputOf(layer).name })),
      biases: this.biases,
      left: this.left,
    };
  }

  private recurrent(layer: RecurrentLayer): PlannedRecurrent {
    const { node, kind, hidden, gates, directions } = layer;
    const name = reportName(node);
    for (const constant of [layer.weight, layer.recurrence]) this.planWeight(constant, channelLayout(node, constant.tensor.dims));
    for (const output of node.outputs) if (output) this.rounded.add(output);
    const point = (label: string, role: Point['role'], channels: number, at: number): Point => ({
      id: this.id(`${name} ${label}${directions === 2 ? ` ${at}` : ''}`),
      role,
      channels: this.perChannel ? channels : 1,
    });
    const squashing = (gates - 1) * hidden;
    return {
      at: this.places.get(node) ?? 0,
      layer,
      input: { id: this.id(`${name} input`), role: 'input', channels: this.perChannel ? layer.inputs : 1 },
      directions: layer.backwards.map((_, at): DirectionPoints => {
        const shown = point('hidden', 'hidden', hidden, at);
        if (kind === 'GRU') {
          const gate = { ...point('gates', 'gates', squashing, at), readThrough: () => 'sigmoid' as const };
          return {
            gates: gate,
            candidate: { ...point('candidate', 'gates', hidden, at), readThrough: () => 'tanh' as const },
            hidden: shown,
          };
        }
        const readThrough = (channel: number): 'sigmoid' | 'tanh' => (channel < squashing ? 'sigmoid' : 'tanh');
        const gate = { ...point('gates', 'gates', gates * hidden, at), ...(this.perChannel ? { readThrough } : {}) };
        return { gates: gate, cell: point('cell', 'cell', hidden, at), hidden: shown };
      }),
      bias: layer.bias?.value.name ?? `${name}/bias`,
    };
  }

  private denseLayers(): DenseLayer[] {
    return this.model.graph.nodes.flatMap((node) => {
      if (node.domain !== '' || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) return [];
      const found = denseLayer(node, this.store);
      if ('reason' in found) return [];
      if (!this.isExcluded(reportName(node))) return [found];
      this.left.push({ node, reason: 'excluded by the recipe' });
      return [];
    });
  }

  private dense(layer: DenseLayer, isHead: boolean): void {
    const { node, weight, activation, reductionAxis, channels, depth } = layer;
    this.planWeight(weight, matrixLayout(reductionAxis, weight.tensor.dims));
    if (!this.carriesRounded(activation)) {
      const reading = { at: this.places.get(node) ?? 0, input: 0 };
      const point = {
        id: this.id(`${reportName(node)} input`),
        role: 'activations',
        channels: layer.integerObstacle ? 1 : this.width(depth),
      } as const;
      this.values.push({ point, value: activation.name, reading });
    }
    const output = outputOf(layer);
    if (isHead || this.store.isGraphOutput(output)) return;
    const id = this.id(`${reportName(node)} output`);
    this.add(output, { id, role: 'projections', channels: this.width(channels) });
    const bias = layer.bias?.vector;
    const isOwn = bias && layer.bias?.factor === 1 && bias.value.consumers.length === 1;
    if (isOwn && elementCount(bias.tensor.dims) === channels) this.biases.set(id, bias.value.name);
  }

  /** A product of two activations: what attention makes of its values; its scores are rounded in front of Softmax. */
  private product(node: Node): void {
    const [left, right] = node.inputs;
    const [output] = node.outputs;
    if (!left || !right || !output || this.store.constant(left) || this.store.constant(right)) return;
    if (this.isExcluded(reportName(node)) || reachesSoftmax(output) || this.store.isGraphOutput(output)) return;
    const channels = this.lastSize(right);
    this.add(output, {
      id: this.id(`${reportName(node)} output`),
      role: 'context',
      channels: channels === null ? 1 : this.width(channels),
    });
  }

  private softmax(node: Node): void {
    const [input] = node.inputs;
    const [output] = node.outputs;
    if (!input || !output || this.isExcluded(reportName(node)) || !reachesProduct(output)) return;
    const reading = { at: this.places.get(node) ?? 0, input: 0 };
    this.values.push({ point: { id: this.id(`${reportName(node)} scores`), role: 'scores', channels: 1 }, value: input.name, reading });
    if (!this.store.isGraphOutput(output))
      this.add(output, { id: this.id(`${reportName(node)} probabilities`), role: 'probabilities', channels: 1 });
  }

  private planWeight(constant: Constant, layout: ChannelLayout): void {
    const { rounding, perChannel } = this.options;
    this.weights.set(constant, { constant, layout, rounding, perChannel });
  }

  private add(value: Value, point: Point): void {
    this.values.push({ point, value: value.name });
    this.rounded.add(value);
  }

  /** Files may give several nodes one name. */
  private id(stem: string): string {
    let id = stem;
    for (let count = 2; this.ids.has(id); count += 1) id = `${stem} ${count}`;
    this.ids.add(id);
    return id;
  }

  private width(channels: number): number {
    return this.perChannel ? channels : 1;
  }

  /** The channels of a value that a rounded product of weights makes, found through what keeps the last axis. */
  private lastSize(value: Value): number | null {
    const point = this.values.find((each) => each.value === value.name && !each.reading)?.point;
    return point && point.channels > 1 ? point.channels : null;
  }

  private carriesRounded(value: Value): boolean {
    if (this.rounded.has(value)) return true;
    const { producer } = value;
    if (!producer || !movements.has(producer.opType)) return false;
    const data = producer.opType === 'Concat' ? producer.inputs : producer.inputs.slice(0, 1);
    return data.every((input) => input !== null && this.carriesRounded(input));
  }
}

/** What the layer makes, its bias added. */
export function outputOf({ node, bias }: DenseLayer): Value {
  const [output] = (bias?.add ?? node).outputs;
  return output as Value;
}

/** True when a weight or another activation is multiplied with what comes of `value`. */
function reachesProduct(value: Value): boolean {
  return reaches(value, ({ opType }) => ['MatMul', 'Gemm', 'LSTM', 'GRU', 'RNN', 'Conv', 'Attention'].includes(opType));
}

function reachesSoftmax(value: Value): boolean {
  return reaches(
    value,
    ({ opType }) => opType === 'Softmax',
    ({ opType }) => scaling.has(opType),
  );
}

function reaches(value: Value, isGoal: (node: Node) => boolean, isPassed: (node: Node) => boolean = () => true): boolean {
  const seen = new Set<Node>();
  const open = [...value.consumers];
  for (let node = open.pop(); node; node = open.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (isGoal(node)) return true;
    if (isPassed(node)) for (const output of node.outputs) if (output) open.push(...output.consumers);
  }
  return false;
}
