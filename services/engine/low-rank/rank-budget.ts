/** Ranks for all layers under one budget: the least energy lost for what is saved. */

/** A choice for a layer; the layer as it is costs `full` and loses nothing. */
export interface RankOption {
  readonly cost: number;
  /** Share of the energy of the layer's outputs. */
  readonly lost: number;
}

export interface BudgetedLayer<Option extends RankOption> {
  readonly full: number;
  readonly options: readonly Option[];
}

interface Step<Option> {
  readonly layer: number;
  readonly to: Option;
  readonly saved: number;
  /** Energy lost for each unit of cost. */
  readonly price: number;
}

/**
 * The choice of each layer (null: as it is) with which the sum of the costs is at most `limit`; null when no choice is cheap enough.
 * Greedy along the lower convex hulls of (saved, lost), the cheapest step first: for every sum that the steps reach, nothing saves as
 * much and loses less (Fox 1966, marginal allocation).
 */
export function ranksWithin<Option extends RankOption>(layers: readonly BudgetedLayer<Option>[], limit: number): (Option | null)[] | null {
  const chosen: (Option | null)[] = layers.map(() => null);
  let cost = layers.reduce((sum, { full }) => sum + full, 0);
  const steps = layers.flatMap((layer, at) => hullSteps(layer, at)).sort((a, b) => a.price - b.price);
  for (const { layer, to, saved } of steps) {
    if (cost <= limit) break;
    chosen[layer] = to;
    cost -= saved;
  }
  return cost <= limit ? chosen : null;
}

/** From the layer as it is to ever cheaper options, at rising prices. */
function hullSteps<Option extends RankOption>({ full, options }: BudgetedLayer<Option>, layer: number): Step<Option>[] {
  const steps: Step<Option>[] = [];
  let [cost, lost] = [full, 0];
  for (;;) {
    let best: Step<Option> | undefined;
    for (const to of options) {
      const saved = cost - to.cost;
      if (saved <= 0) continue;
      const price = Math.max(0, to.lost - lost) / saved;
      if (!best || price < best.price || (price === best.price && saved > best.saved)) best = { layer, to, saved, price };
    }
    if (!best) return steps;
    steps.push(best);
    [cost, lost] = [best.to.cost, best.to.lost];
  }
}
