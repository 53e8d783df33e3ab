/** From offers to one choice for each layer: by measured time where that decides, under the budget where there is one. */
import { EngineError } from '../engine-errors.js';
import { cloneModel, elementCount, isFloating, type Model } from '../ir/index.js';
import { modelBytes } from '../ir/model-bytes.js';
import { WeightStore } from '../layers/weight-store.js';
import type { MethodContext } from '../method.js';
import { runsOnTarget } from '../timing/target-machine.js';
import type { Candidate } from './candidates.js';
import type { LayerCost } from './factors.js';
import type { LayerOffer } from './layer-offers.js';
import { type LayerTime, measureForms } from './measured-forms.js';
import type { LowRankBudget } from './options.js';
import { ranksWithin } from './rank-budget.js';
import { writeFactors } from './write-factors.js';

export interface RankChoices {
  readonly chosen: ReadonlyMap<string, Candidate>;
  readonly times: ReadonlyMap<string, LayerTime>;
  /** Choices that measured as not faster, by layer. */
  readonly slower: ReadonlyMap<string, Candidate>;
  /** Why nothing was timed, as a clause for the report; null when it was. */
  readonly untimed: string | null;
  readonly warnings: readonly string[];
}

export interface ChoiceRequest {
  readonly model: Model;
  readonly offers: ReadonlyMap<string, LayerOffer>;
  readonly budget: LowRankBudget | undefined;
  /** Of the model in one run. */
  readonly macs: number;
}

/** Plans under a budget that are measured: layers that turn out slower give their share to the others. */
const ROUNDS = 3;

/** Throws EngineError `recipe_invalid` when no ranks keep the budget. */
export async function chooseRanks(request: ChoiceRequest, context: MethodContext): Promise<RankChoices> {
  const untimed =
    context.objective === 'size'
      ? 'not timed (objective: size)'
      : runsOnTarget(context)
        ? null
        : `not timed (this machine is ${process.arch})`;
  if (request.budget) return new BudgetedChoice(request, request.budget, untimed).run(context);
  const alternatives = new Map(
    [...request.offers].flatMap(([name, { candidates }]) => (candidates.length > 0 ? [[name, candidates] as const] : [])),
  );
  const smallest = new Map(
    [...alternatives].flatMap(([name, all]) =>
      bySize(all)
        .slice(0, 1)
        .map((each) => [name, each] as const),
    ),
  );
  if (untimed || alternatives.size === 0) return unmeasured(smallest, untimed);
  const measured = await measureForms(request.model, new Map([...alternatives].map(([name, all]) => [name, bySize(all)])), context);
  return measured ? { ...measured, untimed: null, warnings: [] } : unmeasured(smallest, UNKNOWN_INPUTS);
}

const UNKNOWN_INPUTS = 'not timed (no inputs are known that the model runs with)';

function unmeasured(chosen: ReadonlyMap<string, Candidate>, untimed: string | null): RankChoices {
  return { chosen, times: new Map(), slower: new Map(), untimed, warnings: [] };
}

function bySize(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort((a, b) => a.cost.macs - b.cost.macs || a.cost.parameters - b.cost.parameters);
}

type Unit = 'macs' | 'parameters' | 'bytes';

class BudgetedChoice {
  private readonly unit: Unit;
  private readonly fraction: number;
  private readonly times = new Map<string, LayerTime>();
  private readonly slower = new Map<string, Candidate>();

  constructor(
    private readonly request: ChoiceRequest,
    budget: LowRankBudget,
    private readonly untimed: string | null,
  ) {
    const asked = (['macs', 'parameters', 'bytes'] as const).filter((unit) => budget[unit] !== undefined);
    const [unit] = asked;
    if (!unit || asked.length > 1)
      throw new EngineError(
        'recipe_invalid',
        'low-rank takes one budget: of macs, of parameters or of bytes. Bound the others in the gate.',
      );
    this.unit = unit;
    this.fraction = budget[unit] ?? 1;
  }

  async run(context: MethodContext): Promise<RankChoices> {
    let chosen = this.planned();
    if (!chosen) throw new EngineError('recipe_invalid', this.refusal());
    if (this.untimed) return unmeasured(chosen, this.untimed);
    for (let round = 0; ; round += 1) {
      const measured = await measureForms(this.request.model, new Map([...chosen].map(([name, each]) => [name, [each]])), context);
      if (!measured) return unmeasured(chosen, UNKNOWN_INPUTS);
      for (const [name, time] of measured.times) this.times.set(name, time);
      for (const [name, each] of measured.slower) this.slower.set(name, each);
      const again: Map<string, Candidate> | null = measured.slower.size > 0 && round + 1 < ROUNDS ? this.planned() : null;
      if (again) {
        chosen = again;
        continue;
      }
      const reached = this.fractionOf(measured.chosen);
      const warnings =
        reached <= this.fraction
          ? []
          : [
              `low-rank: the budget of ${this.fraction} of the ${this.unit} is not kept: ${reached.toFixed(3)} is left, as factors of ${[...this.slower.keys()].join(', ')} would not be faster. With objective "size" nothing is timed.`,
            ];
      return { chosen: measured.chosen, times: this.times, slower: this.slower, untimed: null, warnings };
    }
  }

  /** The least loss under the budget without the layers that measured slower; null when that is not enough. */
  private planned(): Map<string, Candidate> | null {
    const offers = [...this.request.offers].filter(([name]) => !this.slower.has(name));
    const layers = offers.map(([, { dense, candidates }]) => ({
      full: this.costOf(dense),
      options: candidates.map((candidate) => ({ cost: this.costOf(candidate.cost), lost: candidate.lost, candidate })),
    }));
    const full = layers.reduce((sum, layer) => sum + layer.full, 0);
    let room = full - (1 - this.fraction) * this.total;
    // Names and nodes are bytes, too: what the file shows in excess is taken from the room.
    for (;;) {
      const options = ranksWithin(layers, room);
      if (!options) return null;
      const chosen = new Map(options.flatMap((option, at) => (option ? [[offers[at]?.[0] ?? '', option.candidate] as const] : [])));
      const excess = this.unit === 'bytes' ? (this.fractionOf(chosen) - this.fraction) * this.total : 0;
      if (excess <= 0) return chosen;
      room -= excess;
    }
  }

  private costOf({ macs, parameters }: LayerCost): number {
    return this.unit === 'macs' ? macs : this.unit === 'parameters' ? parameters : 4 * parameters;
  }

  private get total(): number {
    const { model, macs } = this.request;
    return this.unit === 'macs' ? macs : this.unit === 'bytes' ? modelBytes(model) : parameterCount(model);
  }

  private fractionOf(chosen: ReadonlyMap<string, Candidate>): number {
    const { model, offers } = this.request;
    if (this.unit !== 'macs') {
      const copy = cloneModel(model);
      writeFactors(copy, chosen);
      return (this.unit === 'bytes' ? modelBytes(copy) : parameterCount(copy)) / this.total;
    }
    const saved = [...chosen].reduce((sum, [name, { cost }]) => sum + (offers.get(name)?.dense.macs ?? 0) - cost.macs, 0);
    return (this.total - saved) / this.total;
  }

  private refusal(): string {
    const least = new Map(
      [...this.request.offers].flatMap(([name, { candidates }]) =>
        [...candidates]
          .sort((a, b) => this.costOf(a.cost) - this.costOf(b.cost))
          .slice(0, 1)
          .map((each) => [name, each] as const),
      ),
    );
    const reached = this.fractionOf(least);
    return `A budget of ${this.fraction} of the ${this.unit} cannot be kept: the lowest ranks leave ${reached.toFixed(3)}. Raise the budget, or lower multiple_of.`;
  }
}

function parameterCount(model: Model): number {
  const constants = new WeightStore(model).all().filter(({ tensor }) => isFloating(tensor.dataType));
  return constants.reduce((sum, { tensor }) => sum + elementCount(tensor.dims), 0);
}
