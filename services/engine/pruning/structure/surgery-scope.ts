/** What the adjusters of operators read and write while units are being removed. */
import { type Model, type Node, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import { type Constant, WeightStore } from '../../layers/weight-store.js';
import { type Counterparts, counterparts } from './counterpart.js';
import { keptRows } from './kept-indices.js';
import type { AnalyzedStructure, UnitTrack, ValueLayout } from './structure-layout.js';

export class SurgeryScope {
  readonly store: WeightStore;
  readonly twins: Counterparts;
  private readonly layouts = new Map<Value, ValueLayout>();

  constructor(
    readonly model: Model,
    structure: AnalyzedStructure,
    readonly removed: ReadonlySet<number>,
  ) {
    this.store = new WeightStore(model);
    this.twins = counterparts(structure.model, model);
    for (const layout of structure.layouts) if (!layout.use) this.layouts.set(this.twins.value(layout.value), layout);
  }

  track(value: Value | null | undefined, axis: number): UnitTrack | undefined {
    return value ? this.layouts.get(value)?.tracks.find((track) => track.axis === axis) : undefined;
  }

  /** Indices that remain along an axis, row by row; undefined when all do. */
  kept(value: Value | null | undefined, axis: number): number[][] | undefined {
    const track = this.track(value, axis);
    if (!track) return undefined;
    const lists = keptRows(track, this.removed);
    return lists[0]?.length === track.dims[axis] ? undefined : lists;
  }

  /** Size of an axis after the removal; undefined when it stays. */
  newSize(value: Value | null | undefined, axis: number): number | undefined {
    return this.kept(value, axis)?.[0]?.length;
  }

  /** Axes of `value` that become shorter, with their sizes before and after. */
  changedAxes(value: Value | null | undefined): { axis: number; before: number; after: number }[] {
    const layout = value ? this.layouts.get(value) : undefined;
    return (layout?.tracks ?? []).flatMap(({ axis, dims }) => {
      const after = this.newSize(value, axis);
      return after === undefined ? [] : [{ axis, before: dims[axis] ?? 1, after }];
    });
  }

  /** Gives input `index` of `node` other integers, of the type and shape it had; other readers of the constant keep theirs. */
  setIntegers(node: Node, index: number, values: readonly number[]): void {
    const constant = this.store.constant(node.inputs[index]);
    if (!constant) throw new Error(`SurgeryScope: input ${index} of ${node.opType} "${node.name}" is no constant`);
    this.setConstant(node, index, integersLike(constant.tensor, values));
  }

  /** Makes input `index` of `node` another constant; other readers keep theirs. */
  setConstant(node: Node, index: number, tensor: Tensor): Value {
    const constant = this.store.constant(node.inputs[index]);
    if (!constant) throw new Error(`SurgeryScope: input ${index} of ${node.opType} "${node.name}" is no constant`);
    const isOwn = constant.value.uses.length === 1 && !this.store.isGraphOutput(constant.value);
    if (isOwn) return this.replace(constant, tensor).value;
    const copy = this.store.add(constant, `_${node.name || node.opType}`, tensor);
    node.setInput(index, copy.value);
    return copy.value;
  }

  replace(constant: Constant, tensor: Tensor): Constant {
    constant.value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    return this.store.replace(constant, tensor);
  }
}

function integersLike({ dataType }: Tensor, values: readonly number[]): Tensor {
  const dims = [values.length];
  return dataType === 'int32'
    ? tensorOf(dataType, dims, Int32Array.from(values))
    : tensorOf('int64', dims, BigInt64Array.from(values, BigInt));
}
