/** The model as it is run for calibration: next to the computation, small nodes reduce each observed tensor to what leaves the runtime. */
import { attributeOf, cloneModel, type Graph, int64Tensor, type Model, NameAuthority, Node, Value } from '../ir/index.js';

/** What leaves the runtime of one tensor. */
export interface TensorReading {
  readonly name: string;
  /** The whole tensor instead of reductions: it is small and its values are wanted, or it holds values that are not finite. */
  readonly isWhole: boolean;
  /** Besides the reductions, every `stride`-th value; absent when no values are wanted. */
  readonly stride?: number;
  /** Reductions per element of this axis; absent: over everything. */
  readonly channelAxis?: number;
  readonly rank: number;
}

/** Names of the outputs of the observing graph. */
export interface ObservingOutputs {
  /** Per statistic one vector: the reductions of all tensors that are not whole, one after the other. */
  readonly reductions: readonly string[];
  /** Dims of all tensors, -1 behind each. */
  readonly dims: string;
  /** The strided values by tensor name; the tensor itself where it is whole. */
  readonly values: ReadonlyMap<string, string>;
  /** Graph inputs, int64 [1], that take where the strided values start, by stride. */
  readonly phases: ReadonlyMap<number, string>;
}

/** min, max, E[x], sum x^2: in the order of `ObservingOutputs.reductions`. The mean is not finite when any value is not. */
const reductionOperators = ['ReduceMin', 'ReduceMax', 'ReduceMean', 'ReduceSumSquare'] as const;

/** Slice takes a step from this version on; the oldest in which values can be strided. */
export const STRIDED_OPSET_MIN = 10;
const AXES_AS_INPUT_OPSET = 18;

/** Values of the main graph that a calibration can observe, by name. */
export function observableValues(graph: Graph): Map<string, Value> {
  const produced = graph.nodes.flatMap((node) => node.outputs.filter((value) => value !== null));
  return new Map([...graph.inputs, ...produced].map((value) => [value.name, value]));
}

/** A copy of the model whose outputs are the readings and nothing else. */
export function observingModel(model: Model, readings: readonly TensorReading[]): { model: Model; outputs: ObservingOutputs } {
  const copy = cloneModel(model);
  copy.graph.name = 'calibration';
  copy.graph.outputs.splice(0);
  /** Declared sizes may be stale, and the runtime would believe them: it infers them all itself. */
  for (const node of copy.graph.nodes) for (const value of node.outputs) if (value) value.type = null;
  return { model: copy, outputs: new ObservingGraph(copy).add(readings) };
}

/** `readings` alone in dims: what a survey of sizes needs. */
export function surveyModel(model: Model, names: readonly string[]): { model: Model; output: string } {
  const readings = names.map((name): TensorReading => ({ name, isWhole: true, rank: 0 }));
  const survey = observingModel(model, []);
  const output = new ObservingGraph(survey.model).addDims(readings);
  return { model: survey.model, output };
}

class ObservingGraph {
  private readonly graph: Graph;
  private readonly names: NameAuthority;
  private readonly observed: ReadonlyMap<string, Value>;
  private readonly flat: Value;
  private readonly single: Value;

  constructor(private readonly model: Model) {
    this.graph = model.graph;
    this.names = new NameAuthority(model);
    this.observed = observableValues(model.graph);
    this.flat = this.constant('minus_one', [-1]);
    this.single = this.constant('one', [1]);
  }

  add(readings: readonly TensorReading[]): ObservingOutputs {
    const reduced = readings.filter((reading) => !reading.isWhole);
    const phases = new Map<number, Value>();
    const values = new Map<string, string>();
    for (const reading of readings) {
      const value = reading.isWhole ? this.valueOf(reading.name) : this.stridedValues(reading, phases);
      if (value) values.set(reading.name, this.output(value, 'float32'));
    }
    return {
      reductions: reduced.length === 0 ? [] : reductionOperators.map((operator) => this.addReductions(operator, reduced)),
      dims: readings.length === 0 ? '' : this.addDims(readings),
      values,
      phases: new Map([...phases].map(([stride, value]) => [stride, value.name])),
    };
  }

  addDims(readings: readonly TensorReading[]): string {
    const parts = readings.flatMap(({ name }) => [this.node('Shape', [this.valueOf(name)]), this.flat]);
    return this.output(this.node('Concat', parts, { axis: attributeOf.int(0) }), 'int64');
  }

  private addReductions(operator: string, readings: readonly TensorReading[]): string {
    const parts = readings.map((reading) => {
      const value = this.valueOf(reading.name);
      if (reading.channelAxis !== undefined) return this.channelReduction(operator, value, reading);
      return this.node('Reshape', [this.node(operator, [value], { keepdims: attributeOf.int(0) }), this.single]);
    });
    return this.output(this.node('Concat', parts, { axis: attributeOf.int(0) }), 'float32');
  }

  private channelReduction(operator: string, value: Value, { channelAxis = 0, rank }: TensorReading): Value {
    /** A vector of channels: one more axis, over which there is something to reduce. */
    if (rank === 1) return this.reduced(operator, this.node('Reshape', [value, this.constant('row', [1, -1])]), [0]);
    const channel = channelAxis < 0 ? channelAxis + rank : channelAxis;
    return this.reduced(
      operator,
      value,
      Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== channel),
    );
  }

  private reduced(operator: string, value: Value, axes: readonly number[]): Value {
    const keepdims = attributeOf.int(0);
    return this.model.opset < AXES_AS_INPUT_OPSET
      ? this.node(operator, [value], { keepdims, axes: attributeOf.ints(axes) })
      : this.node(operator, [value, this.constant('axes', axes)], { keepdims });
  }

  private stridedValues({ name, stride }: TensorReading, phases: Map<number, Value>): Value | undefined {
    if (stride === undefined) return undefined;
    const flat = this.node('Reshape', [this.valueOf(name), this.flat]);
    if (stride === 1) return flat;
    const phase = phases.get(stride) ?? this.input(`phase_${stride}`);
    phases.set(stride, phase);
    const end = this.constant('end', [Number.MAX_SAFE_INTEGER]);
    return this.node('Slice', [flat, phase, end, this.constant('axis', [0]), this.constant('stride', [stride])]);
  }

  private valueOf(name: string): Value {
    const value = this.observed.get(name);
    if (!value) throw new Error(`calibration: the main graph has no tensor '${name}'`);
    return value;
  }

  private constant(stem: string, values: readonly number[]): Value {
    return this.graph.addInitializer(this.names.valueName(`observe_${stem}`), int64Tensor([values.length], values));
  }

  private input(stem: string): Value {
    const value = new Value(this.names.valueName(`observe_${stem}`), { kind: 'tensor', dataType: 'int64', shape: [1] });
    this.graph.inputs.push(value);
    return value;
  }

  private node(opType: string, inputs: readonly Value[], attributes: Record<string, ReturnType<typeof attributeOf.int>> = {}): Value {
    const output = new Value(this.names.valueName('observed'));
    this.graph.append(new Node({ opType, name: this.names.nodeName('observe'), inputs, outputs: [output], attributes }));
    return output;
  }

  private output(value: Value, dataType: 'float32' | 'int64'): string {
    value.type ??= { kind: 'tensor', dataType, shape: null };
    if (!this.graph.isOutput(value)) this.graph.outputs.push(value);
    return value.name;
  }
}
