/** What a model costs as a function of how many units its groups have lost: multiply-accumulates, parameters, bytes. */
import { elementCount, graphsWithin, type Model, type Node } from '../../ir/index.js';
import { modelBytes } from '../../ir/model-bytes.js';
import { type Constant, reportName, WeightStore } from '../../layers/weight-store.js';
import { countMacs, holdsParameters, operatorTraits, parameterCount } from '../../ops/index.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import { type StandInSizes, standInSizes } from './stand-in-costs.js';
import type { Removal, ValueSizes } from './value-sizes.js';

export interface Cost {
  readonly macs: number;
  readonly parameters: number;
  /** Of the file, as modelBytes estimates it. */
  readonly bytes: number;
}

export interface CostRequest {
  readonly model: Model;
  readonly sizes: ValueSizes;
  /** Sizes of values by name, for one run. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Those that removals are counted by. */
  readonly orders: readonly RemovalOrder[];
}

const FLOAT_BYTES = 4;

/** A figure as a function of what is removed. */
type Term = (removed: Removal) => number;

/**
 * A node with constant weights multiplies each of them equally often, whatever remains of them (mac-formulas.ts: |Y| |W| / M,
 * T B (|W| + |R|), |Y| K): its count is proportional to |W|. A product of two activations is counted by |Y| K, other operators by |Y|.
 * What this misses (weights under batch axes that become shorter) shows when the artifact is counted.
 */
export class ModelCost {
  /** Of the model as it is. */
  readonly source: Cost;
  private readonly sizes: ValueSizes;
  private readonly macTerms: readonly Term[];
  private readonly standIns: readonly StandInSizes[];
  private readonly constantTerms: readonly { readonly lost: Term; readonly bytesEach: number; readonly isParameter: boolean }[];

  constructor(request: CostRequest) {
    const { model, shapes, sizes } = request;
    const store = new WeightStore(model);
    this.sizes = sizes;
    this.macTerms = this.multiplications(request, store);
    this.standIns = standInSizes(request);
    this.constantTerms = store.all().flatMap((constant) => this.constantTerm(constant));
    this.source = { macs: countMacs(model, shapes).total, parameters: parameterCount(model), bytes: modelBytes(model) };
  }

  at(removed: Removal): Cost {
    let { parameters, bytes } = this.source;
    for (const { lost, bytesEach, isParameter } of this.constantTerms) {
      const elements = lost(removed);
      if (isParameter) parameters -= elements;
      bytes -= elements * bytesEach;
    }
    let macs = this.source.macs - this.macTerms.reduce((sum, term) => sum + term(removed), 0);
    for (const { dims, places } of this.standIns) {
      const elements = elementCount(dims(removed) ?? [0]);
      macs += elements * places;
      parameters += elements;
      bytes += elements * FLOAT_BYTES;
    }
    return { macs, parameters, bytes };
  }

  private constantTerm({ value, tensor }: Constant): ModelCost['constantTerms'] {
    if (this.sizes.groupsIn(value).size === 0) return [];
    const count = elementCount(tensor.dims);
    const kept = this.sizes.keptOf(value);
    const bytesEach = count > 0 ? tensor.data.byteLength / count : 0;
    return [{ lost: (removed) => count * (1 - kept(removed)), bytesEach, isParameter: holdsParameters(tensor.dataType) }];
  }

  /** Per node, what it no longer has to multiply. */
  private multiplications({ model, shapes }: CostRequest, store: WeightStore): Term[] {
    const nodes = [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes);
    const byName = new Map(nodes.map((node) => [reportName(node), node] as const));
    return countMacs(model, shapes).perNode.flatMap(({ node: name, macs }): Term[] => {
      const node = byName.get(name);
      if (!node) return [];
      const weights = weightsOf(node, store);
      const kept = weights.length > 0 ? this.keptWeights(node, weights) : this.keptProducts(node);
      return kept ? [(removed) => macs * (1 - kept(removed))] : [];
    });
  }

  private keptWeights(node: Node, weights: readonly Constant[]): Term | undefined {
    if (weights.every(({ value }) => this.sizes.groupsIn(value, node).size === 0)) return undefined;
    const terms = weights.map(({ value, tensor }) => ({ count: elementCount(tensor.dims), kept: this.sizes.keptOf(value, node) }));
    const all = terms.reduce((sum, { count }) => sum + count, 0);
    return (removed) => terms.reduce((sum, { count, kept }) => sum + count * kept(removed), 0) / all;
  }

  private keptProducts(node: Node): Term | undefined {
    const [left] = node.inputs;
    const [result] = node.outputs;
    if (!left || !result || this.sizes.groupsIn(left).size + this.sizes.groupsIn(result).size === 0) return undefined;
    const results = this.sizes.keptOf(result);
    if (node.opType !== 'MatMul') return results;
    const dims = this.sizes.dimsOf(left, []);
    const depth = dims([]).at(-1);
    return (removed) => results(removed) * (depth ? (dims(removed).at(-1) ?? depth) / depth : 1);
  }
}

/** The constants that a node multiplies by: not its biases. */
export function weightsOf(node: Node, store: WeightStore): Constant[] {
  const isRecurrent = operatorTraits(node.domain, node.opType)?.category === 'recurrent';
  return (isRecurrent ? [1, 2] : [0, 1]).flatMap((index) => store.constant(node.inputs[index]) ?? []);
}
