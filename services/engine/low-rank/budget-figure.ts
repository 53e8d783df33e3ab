/** The figure that a budget bounds: what the model has of it, and what is left of it with a choice of factors. */
import { EngineError } from '../engine-errors.js';
import { cloneModel, elementCount, isFloating, type Model } from '../ir/index.js';
import { modelBytes } from '../ir/model-bytes.js';
import { WeightStore } from '../layers/weight-store.js';
import type { Candidate } from './candidates.js';
import type { LayerCost } from './factors.js';
import type { LayerOffer } from './layer-offers.js';
import type { LowRankBudget } from './options.js';
import { writeFactors } from './write-factors.js';

export interface BudgetedModel {
  readonly model: Model;
  readonly offers: ReadonlyMap<string, LayerOffer>;
  /** Of the model in one run. */
  readonly macs: number;
}

export class BudgetFigure {
  readonly figure: keyof LowRankBudget;
  /** Fraction that may be left. */
  readonly asked: number;
  readonly total: number;

  /** Throws EngineError `recipe_invalid` when the budget does not name one figure. */
  constructor(
    private readonly of: BudgetedModel,
    budget: LowRankBudget,
  ) {
    const [figure, ...others] = (['macs', 'parameters', 'bytes'] as const).filter((each) => budget[each] !== undefined);
    if (!figure || others.length > 0)
      throw new EngineError(
        'recipe_invalid',
        'low-rank takes one budget: of macs, of parameters or of bytes. Bound the others in the gate.',
      );
    this.figure = figure;
    this.asked = budget[figure] ?? 1;
    this.total = figure === 'macs' ? of.macs : this.weightsOf(of.model);
  }

  /** What a layer has of the figure; names and nodes, which are bytes, too, are left out. */
  costOf({ macs, parameters }: LayerCost): number {
    if (this.figure === 'macs') return macs;
    return this.figure === 'bytes' ? 4 * parameters : parameters;
  }

  /** What is left with these factors, counted on the model with them. */
  reached(chosen: ReadonlyMap<string, Candidate>): number {
    const { model, offers } = this.of;
    if (this.total === 0) return 1;
    if (this.figure !== 'macs') {
      const copy = cloneModel(model);
      writeFactors(copy, chosen);
      return this.weightsOf(copy) / this.total;
    }
    const saved = [...chosen].reduce((sum, [name, { cost }]) => sum + (offers.get(name)?.dense.macs ?? 0) - cost.macs, 0);
    return (this.total - saved) / this.total;
  }

  private weightsOf(model: Model): number {
    if (this.figure === 'bytes') return modelBytes(model);
    const constants = new WeightStore(model).all().filter(({ tensor }) => isFloating(tensor.dataType));
    return constants.reduce((sum, { tensor }) => sum + elementCount(tensor.dims), 0);
  }
}
