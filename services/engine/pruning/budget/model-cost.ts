/** What a model costs as a function of how many units its groups have lost: multiply-accumulates, parameters, bytes. */
import { graphsWithin, type Model, type Node } from '../../ir/index.js';
import { modelBytes } from '../../ir/model-bytes.js';
import { type Constant, reportName, WeightStore } from '../../layers/weight-store.js';
import { countMacs, holdsParameters, operatorTraits, parameterCount } from '../../ops/index.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import { ConstantSizes, type Removal } from './constant-sizes.js';
import { groupsThroughNodes } from './spanned-nodes.js';

export interface Cost {
  readonly macs: number;
  readonly parameters: number;
  /** Of the file, as modelBytes estimates it. */
  readonly bytes: number;
}

export interface CostRequest {
  readonly model: Model;
  readonly groups: readonly PruningGroup[];
  /** Sizes of values by name, for one run. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** A figure as a function of what is removed. */
type Term = (removed: Removal) => number;

/**
 * A node with constant weights multiplies each of them equally often, whatever remains of them (mac-formulas.ts: |Y| |W| / M,
 * T B (|W| + |R|), |Y| K): its count is proportional to |W|. A product of two activations is proportional to the width of each
 * group that passes through it. What this misses shows when the artifact is counted.
 */
export class ModelCost {
  /** Of the model as it is. */
  readonly source: Cost;
  private readonly sizes: ConstantSizes;
  private readonly macTerms: readonly Term[];
  private readonly constantTerms: readonly { readonly lost: Term; readonly bytesEach: number; readonly isParameter: boolean }[];

  constructor(request: CostRequest) {
    const { model, groups, shapes } = request;
    const store = new WeightStore(model);
    this.sizes = new ConstantSizes(groups);
    this.macTerms = this.multiplications(request, store);
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
    return { macs: this.source.macs - this.macTerms.reduce((sum, term) => sum + term(removed), 0), parameters, bytes };
  }

  private constantTerm(constant: Constant): ModelCost['constantTerms'] {
    const { value, tensor } = constant;
    if (!this.sizes.isPruned(value)) return [];
    const left = this.sizes.elementsOf(constant);
    const all = left([]);
    const bytesEach = all > 0 ? tensor.data.byteLength / all : 0;
    return [{ lost: (removed) => all - left(removed), bytesEach, isParameter: holdsParameters(tensor.dataType) }];
  }

  /** Per node, what it no longer has to multiply. */
  private multiplications({ model, groups, shapes }: CostRequest, store: WeightStore): Term[] {
    const nodes = [...graphsWithin(model.graph)].flatMap((graph) => graph.nodes);
    const byName = new Map(nodes.map((node) => [reportName(node), node] as const));
    const through = groupsThroughNodes(groups);
    return countMacs(model, shapes).perNode.flatMap(({ node: name, macs }): Term[] => {
      const node = byName.get(name);
      if (!node) return [];
      const weights = weightsOf(node, store);
      if (weights.length > 0) return this.weightTerm(weights, macs);
      const passing = through.get(node) ?? [];
      if (passing.length === 0) return [];
      return [(removed) => macs * (1 - passing.reduce((left, at) => left * keptShare(groups[at], removed[at]), 1))];
    });
  }

  private weightTerm(weights: readonly Constant[], macs: number): Term[] {
    if (!weights.some(({ value }) => this.sizes.isPruned(value))) return [];
    const sizes = weights.map((weight) => this.sizes.elementsOf(weight));
    const left: Term = (removed) => sizes.reduce((sum, size) => sum + size(removed), 0);
    const all = left([]);
    return [(removed) => macs * (1 - left(removed) / all)];
  }
}

function keptShare(group: PruningGroup | undefined, removed = 0): number {
  return group ? 1 - removed / group.units.length : 1;
}

/** The constants that a node multiplies by: not its biases. */
export function weightsOf(node: Node, store: WeightStore): Constant[] {
  const isRecurrent = operatorTraits(node.domain, node.opType)?.category === 'recurrent';
  return (isRecurrent ? [1, 2] : [0, 1]).flatMap((index) => store.constant(node.inputs[index]) ?? []);
}
