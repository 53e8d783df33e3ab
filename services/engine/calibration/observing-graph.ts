/** The model as it is run for calibration: next to the computation, small nodes reduce each observed tensor to what leaves the runtime. */
import { type Attribute, attributeOf, cloneModel, type Graph, int64Tensor, type Model, NameAuthority, Node, Value } from '../ir/index.js';

/** What leaves the runtime of one tensor. */
export interface TensorReading {
  readonly name: string;
  readonly rank: number;
  /** The whole tensor instead of reductions: it is small and its values are wanted, or it holds values that are not finite. */
  readonly isWhole: boolean;
  /** Besides the reductions, every `stride`-th value; absent when no values are wanted. */
  readonly stride?: number;
  /** Reductions per element of this axis, counted from the front; absent: over everything. */
  readonly keptAxis?: number;
  /** Whether the elements of the kept axis are wanted; otherwise it is kept because that reduces faster. */
  readonly hasChannels: boolean;
  /** Absent where nothing lies below 0 and much at it: behind Relu. */
  readonly hasMin: boolean;
  readonly hasMax: boolean;
  /** The mean is not finite when any value is not. */
  readonly hasMean: boolean;
  readonly hasPower: boolean;
}

/** min, max, E[x], E[x^2] where it is pooled and otherwise sum x^2. */
export type Reduction = 'ReduceMin' | 'ReduceMax' | 'ReduceMean' | 'ReduceSumSquare';

/**
 * Maps of channels are reduced by pooling: the runtime keeps them in blocks of channels, in which it can pool but not reduce, and
 * every reduction would have the whole map put into order first. There is no pooling of minima.
 */
export function isPooled(reduction: Reduction, { rank, keptAxis }: TensorReading): boolean {
  return reduction !== 'ReduceMin' && rank === 4 && keptAxis === 1;
}

/** One output: the same reduction of several tensors, one after the other. */
export interface ReductionOutput {
  readonly reduction: Reduction;
  readonly output: string;
  readonly readings: readonly TensorReading[];
}

/** Names of the outputs of the observing graph. */
export interface ObservingOutputs {
  readonly reductions: readonly ReductionOutput[];
  /** Dims of the tensors that were asked for, -1 behind each; absent when there are none. */
  readonly dims?: string;
  /** The strided values by tensor name; the tensor itself where it is whole. */
  readonly values: ReadonlyMap<string, string>;
  /** Graph inputs, int64 [1], that take where the strided values start, by stride. */
  readonly phases: ReadonlyMap<number, string>;
}

/** Slice takes a step from this version on; the oldest in which values can be strided. */
export const STRIDED_OPSET_MIN = 10;
const AXES_AS_INPUT_OPSET = 18;

/** Values of the main graph that a calibration can observe, by name. */
export function observableValues(graph: Graph): Map<string, Value> {
  const produced = graph.nodes.flatMap((node) => node.outputs.filter((value) => value !== null));
  return new Map([...graph.inputs, ...produced].map((value) => [value.name, value]));
}

/**
 * A copy of the model whose outputs are the readings, and the dims of the tensors named in `sized`, and nothing else.
 * Many tensors make many nodes, and the time to open a session grows faster than their number: every reduction is one node, and
 * those of one kind leave as one output.
 */
export function observingModel(
  model: Model,
  readings: readonly TensorReading[],
  sized: readonly string[],
): { model: Model; outputs: ObservingOutputs } {
  const copy = cloneModel(model);
  copy.graph.name = 'calibration';
  copy.graph.outputs.splice(0);
  /** Declared sizes may be stale, and the runtime would believe them: it infers them all itself. */
  for (const node of copy.graph.nodes) for (const value of node.outputs) if (value) value.type = null;
  return { model: copy, outputs: new ObservingGraph(copy).add(readings, sized) };
}

class ObservingGraph {
  private readonly graph: Graph;
  private readonly names: NameAuthority;
  private readonly observed: ReadonlyMap<string, Value>;
  private readonly constants = new Map<string, Value>();

  constructor(private readonly model: Model) {
    this.graph = model.graph;
    this.names = new NameAuthority(model);
    this.observed = observableValues(model.graph);
  }

  add(readings: readonly TensorReading[], sized: readonly string[]): ObservingOutputs {
    const phases = new Map<number, Value>();
    const values = new Map<string, string>();
    for (const reading of readings) {
      const value = reading.isWhole ? this.valueOf(reading.name) : this.stridedValues(reading, phases);
      if (value) values.set(reading.name, this.output(value, 'float32'));
    }
    const reduced = readings.filter((reading) => !reading.isWhole);
    return {
      reductions: [
        ...this.addReductions(
          'ReduceMin',
          reduced.filter((reading) => reading.hasMin),
        ),
        ...this.addReductions(
          'ReduceMax',
          reduced.filter((reading) => reading.hasMax),
        ),
        ...this.addReductions(
          'ReduceMean',
          reduced.filter((reading) => reading.hasMean),
        ),
        ...this.addReductions(
          'ReduceSumSquare',
          reduced.filter((reading) => reading.hasPower),
        ),
      ],
      ...(sized.length > 0 ? { dims: this.addDims(sized) } : {}),
      values,
      phases: new Map([...phases].map(([stride, value]) => [stride, value.name])),
    };
  }

  private addDims(sized: readonly string[]): string {
    const end = this.constant('end_of_dims', [-1]);
    const parts = sized.flatMap((name) => [this.node('Shape', [this.valueOf(name)]), end]);
    return this.output(this.node('Concat', parts, { axis: attributeOf.int(0) }), 'int64');
  }

  /** Reduced axes stay with size 1, so that tensors of one rank that keep the same axis can be joined along it. */
  private addReductions(reduction: Reduction, readings: readonly TensorReading[]): ReductionOutput[] {
    const groups = new Map<string, TensorReading[]>();
    for (const reading of readings) {
      const key = `${reading.rank} ${reading.keptAxis}`;
      groups.set(key, [...(groups.get(key) ?? []), reading]);
    }
    return [...groups.values()].map((group) => ({
      reduction,
      output: this.output(this.joined(reduction, group), 'float32'),
      readings: group,
    }));
  }

  private joined(reduction: Reduction, group: readonly TensorReading[]): Value {
    const [first] = group;
    const axis = attributeOf.int(first?.keptAxis ?? 0);
    if (first && isPooled(reduction, first)) {
      const pooled = this.node(
        'Concat',
        group.map(({ name }) => this.pooled(reduction, this.valueOf(name))),
        { axis },
      );
      return this.reduceBut(reduction === 'ReduceMax' ? reduction : 'ReduceMean', pooled, { rank: 4, keptAxis: 1 });
    }
    const parts = group.map((reading) => this.reduced(reduction, reading));
    return first?.rank === 0 ? this.scalars(parts) : this.node('Concat', parts, { axis });
  }

  /** [samples, channels, 1, 1]. */
  private pooled(reduction: Reduction, value: Value): Value {
    if (reduction === 'ReduceMax') return this.node('GlobalMaxPool', [value]);
    return this.node('GlobalAveragePool', [reduction === 'ReduceSumSquare' ? this.node('Mul', [value, value]) : value]);
  }

  private scalars(parts: readonly Value[]): Value {
    const single = this.constant('single', [1]);
    return this.node(
      'Concat',
      parts.map((part) => this.node('Reshape', [part, single])),
      { axis: attributeOf.int(0) },
    );
  }

  private reduced(reduction: Reduction, { name, rank, keptAxis }: TensorReading): Value {
    const value = this.valueOf(name);
    if (keptAxis === undefined) return this.node(reduction, [value], { keepdims: attributeOf.int(1) });
    /** A vector of channels has no axis to reduce, and no axes would mean all of them. */
    if (rank === 1) return this.node('Identity', [reduction === 'ReduceSumSquare' ? this.node('Mul', [value, value]) : value]);
    return this.reduceBut(reduction, value, { rank, keptAxis });
  }

  private reduceBut(reduction: Reduction, value: Value, { rank, keptAxis }: { readonly rank: number; readonly keptAxis: number }): Value {
    const keepdims = attributeOf.int(1);
    const axes = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => axis !== keptAxis);
    return this.model.opset < AXES_AS_INPUT_OPSET
      ? this.node(reduction, [value], { keepdims, axes: attributeOf.ints(axes) })
      : this.node(reduction, [value, this.constant('axes', axes)], { keepdims });
  }

  private stridedValues({ name, stride }: TensorReading, phases: Map<number, Value>): Value | undefined {
    if (stride === undefined) return undefined;
    const flat = this.node('Reshape', [this.valueOf(name), this.constant('flat', [-1])]);
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
    const key = `${stem} ${values}`;
    const known = this.constants.get(key);
    if (known) return known;
    const made = this.graph.addInitializer(this.names.valueName(`observe_${stem}`), int64Tensor([values.length], values));
    this.constants.set(key, made);
    return made;
  }

  private input(stem: string): Value {
    const value = new Value(this.names.valueName(`observe_${stem}`), { kind: 'tensor', dataType: 'int64', shape: [1] });
    this.graph.inputs.push(value);
    return value;
  }

  private node(opType: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
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
