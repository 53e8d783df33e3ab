/** What the layers that stand in for residual branches multiply, hold and take, as functions of what is removed. */
import { elementCount, type Model, type Node } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import { branchForms, type StandIn, standInDims } from '../structure/residual-branches.js';
import type { Removal, ValueSizes } from './value-sizes.js';

export interface StandInSizes {
  /** Has the attributes of the window of the layer. */
  readonly node: Node;
  /** Of its weight as nothing is removed. */
  readonly weightDims: readonly number[];
  /** Positions at which the weight is applied, in one run. */
  readonly places: number;
  /** What it reads, in one run. */
  readonly inputDims: readonly number[];
  /** Of the weight, whatever becomes of the branch. */
  whole(removed: Removal): readonly number[];
  /** Undefined while the branch is whole, or when it is closed. */
  dims(removed: Removal): readonly number[] | undefined;
}

export interface StandInRequest {
  readonly model: Model;
  readonly orders: readonly Pick<RemovalOrder, 'branch'>[];
  readonly sizes: ValueSizes;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

export function standInSizes({ model, orders, sizes, shapes }: StandInRequest): StandInSizes[] {
  const store = new WeightStore(model);
  const weightOf = (node: Node | undefined) => store.constant(node?.inputs[1]);
  return orders.flatMap(({ branch }, at): StandInSizes[] => {
    const { first, last, window }: Partial<StandIn> = branch?.standIn ?? {};
    const [from, to, kernel] = [weightOf(first), weightOf(last), weightOf(window)?.tensor.dims];
    const [inputDims, result] = [shapes.get(first?.inputs[0]?.name ?? ''), shapes.get(last?.outputs[0]?.name ?? '')];
    if (!branch || !first || !last || !from || !to || !inputDims || !result) return [];
    const state = branchForms(branch).indexOf('linear') + 1;
    const [fromDims, toDims] = [sizes.dimsOf(from.value, from.tensor.dims, first), sizes.dimsOf(to.value, to.tensor.dims, last)];
    const whole = (removed: Removal) => standInDims(fromDims(removed), toDims(removed), kernel);
    const outputs = window ? to.tensor.dims[0] : to.tensor.dims[1];
    return [
      {
        node: window ?? last,
        weightDims: standInDims(from.tensor.dims, to.tensor.dims, kernel),
        places: elementCount(result) / (outputs ?? 1),
        inputDims,
        whole,
        dims: (removed) => (removed[at] === state ? whole(removed) : undefined),
      },
    ];
  });
}
