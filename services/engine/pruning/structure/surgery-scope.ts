/** What the adjusters of operators read and write while units are being removed. */
import { integerValues, type Model, type Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import { reportName, WeightStore } from '../../layers/weight-store.js';
import { ModelFacts } from '../../passes/model-facts.js';
import { type Counterparts, counterparts } from './counterpart.js';
import { keptRows } from './kept-indices.js';
import type { SizeView } from './size-operand.js';
import type { AnalyzedStructure, ValueLayout } from './structure-layout.js';

/** One axis of what a node reads or makes. */
export interface CutAxis {
  readonly before: number;
  /** What remains, row by row (see UnitTrack); undefined when all does. */
  readonly kept: readonly (readonly number[])[] | undefined;
  /** Equal to `before` when nothing goes. */
  readonly after: number;
}

export class SurgeryScope implements SizeView {
  readonly store: WeightStore;
  readonly twins: Counterparts;
  private readonly layouts = new Map<Value, ValueLayout>();
  private readonly readings = new Map<Node, Map<number, ValueLayout>>();

  constructor(
    readonly model: Model,
    structure: AnalyzedStructure,
    readonly removed: ReadonlySet<number>,
  ) {
    this.store = new WeightStore(model);
    this.twins = counterparts(structure.model, model);
    for (const layout of structure.layouts) {
      if (!layout.use) this.layouts.set(this.twins.value(layout.value), layout);
      else {
        const node = this.twins.node(layout.use.node);
        const known = this.readings.get(node) ?? new Map<number, ValueLayout>();
        this.readings.set(node, known.set(layout.use.index, layout));
      }
    }
  }

  private known: ModelFacts | undefined;

  /** Of the model when they were first asked for; sizes that surgery changes are not asked of them. */
  get facts(): ModelFacts {
    if (!this.known) {
      this.known = new ModelFacts(this.model);
      this.known.refresh();
    }
    return this.known;
  }

  constant(value: Value | null | undefined): Tensor | undefined {
    return this.store.constant(value)?.tensor;
  }

  /** True for what a caller feeds or gets. */
  isInterface(value: Value): boolean {
    const { graph } = this.model;
    return graph.isInput(value) || graph.isOutput(value);
  }

  rank(value: Value): number | undefined {
    return this.layouts.get(value)?.dims.length ?? this.facts.shape(value)?.length;
  }

  /** How `node` reads its input `index`. */
  input(node: Node, index: number): ValueLayout | undefined {
    const value = node.inputs[index];
    return this.readings.get(node)?.get(index) ?? (value ? this.layouts.get(value) : undefined);
  }

  output(node: Node, index: number): ValueLayout | undefined {
    const value = node.outputs[index];
    return value ? this.layouts.get(value) : undefined;
  }

  axis(layout: ValueLayout | undefined, axis: number): CutAxis {
    const before = layout?.dims[axis] ?? 0;
    const track = layout?.tracks.find((each) => each.axis === axis);
    const kept = track && keptRows(track, this.removed);
    const after = kept?.[0]?.length ?? before;
    return { before, kept: after === before ? undefined : kept, after };
  }

  /** Axes that become shorter. */
  changedAxes(layout: ValueLayout | undefined): ({ axis: number } & CutAxis)[] {
    return (layout?.tracks ?? []).map(({ axis }) => ({ axis, ...this.axis(layout, axis) })).filter(({ kept }) => kept);
  }

  /** Gives input `index` of `node` a vector of integers; other readers of a constant that stood there keep it. */
  setVector(node: Node, index: number, values: readonly number[], dims: readonly number[] = [values.length]): void {
    const { graph } = node;
    const present = this.store.constant(node.inputs[index]);
    const tensor = { ...integers(present?.tensor, values), dims };
    if (present) {
      node.setInput(index, this.store.add(present, `_${reportName(node)}`, tensor).value);
      this.store.dropIfUnread(present);
    } else if (graph) node.setInput(index, this.store.declare(graph, `${reportName(node)}_sizes`, tensor).value);
  }

  /** Changes elements of a shape operand, through the nodes that put it together; other readers keep what they read. */
  setOperand(node: Node, index: number, changes: ReadonlyMap<number, number>): void {
    const value = node.inputs[index];
    if (!value) return;
    node.setInput(index, this.changed(value, changes, node));
    this.discard(value);
  }

  private changed(value: Value, changes: ReadonlyMap<number, number>, reader: Node): Value {
    if (changes.size === 0) return value;
    const constant = this.store.constant(value);
    if (constant) {
      const values = integerValues(constant.tensor).map((element, at) => changes.get(at) ?? element);
      const tensor = { ...integers(constant.tensor, values), dims: constant.tensor.dims };
      return this.store.add(constant, `_${reportName(reader)}`, tensor).value;
    }
    const { producer } = value;
    if (!producer?.graph) return value;
    const output = this.store.newValue(value.name);
    output.type = value.type;
    const { opType, attributes } = producer;
    const inputs = this.changedInputs(producer, changes, reader);
    producer.graph.insertBefore(producer, this.store.newNode({ opType, attributes, inputs, outputs: [output] }, reportName(producer)));
    return output;
  }

  /** The parts of a Concat, or the one operand of a node that hands integers on. */
  private changedInputs(producer: Node, changes: ReadonlyMap<number, number>, reader: Node): (Value | null)[] {
    if (producer.opType !== 'Concat') {
      return producer.inputs.map((input, at) => (input && at === 0 ? this.changed(input, changes, reader) : input));
    }
    let first = 0;
    return producer.inputs.map((input) => {
      const size = this.facts.shape(input)?.[0];
      const count = typeof size === 'number' ? size : 1;
      const own = [...changes].flatMap(([at, element]) => (at >= first && at < first + count ? [[at - first, element] as const] : []));
      first += count;
      return input && this.changed(input, new Map(own), reader);
    });
  }

  /** Takes what nobody reads any more out of the model, with what only it read. */
  private discard(value: Value): void {
    if (value.isRead || this.store.isGraphOutput(value)) return;
    const constant = this.store.constant(value);
    if (constant) this.store.dropIfUnread(constant);
    const { producer } = value;
    if (!producer?.graph || producer.outputs.some((output) => output?.isRead)) return;
    const inputs = [...producer.inputs];
    producer.graph.remove([producer]);
    for (const input of inputs) if (input) this.discard(input);
  }
}

function integers(like: Tensor | undefined, values: readonly number[]): Tensor {
  const dims = [values.length];
  return like?.dataType === 'int32'
    ? tensorOf('int32', dims, Int32Array.from(values))
    : tensorOf('int64', dims, BigInt64Array.from(values, BigInt));
}
