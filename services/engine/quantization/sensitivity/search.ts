/** Choosing one of several options for every layer: least total value while the total weight stays within a limit. */

/** For bits under a budget, `value` is the noise and `weight` the bytes; for least bytes at a given noise, the other way round. */
export interface LayerChoice {
  readonly value: number;
  readonly weight: number;
}

/** Index of the chosen option per layer. */
export type Assignment = readonly number[];

export type ChoiceSearch = (layers: readonly (readonly LayerChoice[])[], limit: number) => Assignment | null;

/** Noise of a broken layer: finite, so that differences are, and above any sum of real ones. */
const VALUE_MAX = 1e30;

/**
 * Greedy by marginal ratio: from the lightest options up, always the step with the largest fall of value per weight along the
 * lower convex hull of a layer (methods.md 3.9); steps that do not fit are passed over. The value is above the optimum by at
 * most one step, as the hull solves the problem with divisible steps. null when even the lightest options do not fit.
 */
export const greedySearch: ChoiceSearch = (layers, limit) => {
  const hulls = layers.map(lowerHull);
  const at = hulls.map(() => 0);
  let room = limit - totalWeight(layers, hulls.map(firstOf));
  if (room < 0) return null;
  const steps = hulls.flatMap((hull, layer) =>
    hull.slice(1).map((_, step) => ({ layer, step, ...stepOf(layers[layer] ?? [], hull, step) })),
  );
  steps.sort((a, b) => b.gain * a.weight - a.gain * b.weight || a.layer - b.layer || a.step - b.step);
  for (const { layer, step, weight } of steps) {
    if (at[layer] !== step || weight > room) continue;
    at[layer] = step + 1;
    room -= weight;
  }
  return hulls.map((hull, layer) => hull[at[layer] ?? 0] ?? 0);
};

const BUCKETS = 4096;

/**
 * Dynamic programming over weights rounded up to 1/4096 of the room between the lightest options and the limit: the optimum for
 * a limit that is lower by one such bucket per layer, or the greedy answer where that is better. O(layers options buckets).
 */
export const knapsackSearch: ChoiceSearch = (layers, limit) => {
  const greedy = greedySearch(layers, limit);
  if (!greedy) return null;
  const lightest = layers.map((options) => Math.min(...options.map(({ weight }) => weight)));
  const room = limit - lightest.reduce((sum, weight) => sum + weight, 0);
  const buckets = (layer: number, { weight }: LayerChoice): number => {
    const extra = weight - (lightest[layer] ?? 0);
    return extra === 0 ? 0 : room > 0 ? Math.ceil((extra / room) * BUCKETS) : BUCKETS + 1;
  };
  const found = fill(layers, buckets);
  const isLighter = totalWeight(layers, found) <= limit;
  return isLighter && totalValue(layers, found) < totalValue(layers, greedy) ? found : greedy;
};

/** best[c]: least value of the layers so far within c buckets. The choices are read back from the last layer to the first. */
function fill(layers: readonly (readonly LayerChoice[])[], bucketsOf: (layer: number, option: LayerChoice) => number): Assignment {
  let best = new Float64Array(BUCKETS + 1);
  const taken = layers.map((options, layer) => {
    const next = new Float64Array(BUCKETS + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Int32Array(BUCKETS + 1);
    for (const [index, option] of options.entries()) {
      const needed = bucketsOf(layer, option);
      for (let c = needed; c <= BUCKETS; c += 1) {
        const value = (best[c - needed] ?? 0) + boundedValue(option);
        if (value < (next[c] ?? 0)) [next[c], choice[c]] = [value, index];
      }
    }
    best = next;
    return choice;
  });
  let left = BUCKETS;
  const assignment = layers.map(() => 0);
  for (let layer = layers.length - 1; layer >= 0; layer -= 1) {
    const index = taken[layer]?.[left] ?? 0;
    const option = layers[layer]?.[index];
    assignment[layer] = index;
    if (option) left -= bucketsOf(layer, option);
  }
  return assignment;
}

export function totalWeight(layers: readonly (readonly LayerChoice[])[], assignment: Assignment): number {
  return layers.reduce((sum, options, layer) => sum + (options[assignment[layer] ?? 0]?.weight ?? 0), 0);
}

export function totalValue(layers: readonly (readonly LayerChoice[])[], assignment: Assignment): number {
  return layers.reduce((sum, options, layer) => sum + boundedValue(options[assignment[layer] ?? 0]), 0);
}

function boundedValue(option: LayerChoice | undefined): number {
  return Math.min(option?.value ?? 0, VALUE_MAX);
}

function firstOf(hull: readonly number[]): number {
  return hull[0] ?? 0;
}

function stepOf(options: readonly LayerChoice[], hull: readonly number[], step: number): { gain: number; weight: number } {
  const [from, to] = [options[hull[step] ?? 0], options[hull[step + 1] ?? 0]];
  return { gain: boundedValue(from) - boundedValue(to), weight: (to?.weight ?? 0) - (from?.weight ?? 0) };
}

/** Indices of the options from the lightest to that of least value, on which each further weight buys less. */
function lowerHull(options: readonly LayerChoice[]): readonly number[] {
  const order = options.map((_, index) => index);
  order.sort(
    (a, b) => (options[a]?.weight ?? 0) - (options[b]?.weight ?? 0) || boundedValue(options[a]) - boundedValue(options[b]) || a - b,
  );
  const hull: number[] = [];
  for (const index of order) {
    if (hull.length > 0 && boundedValue(options[index]) >= boundedValue(options[hull.at(-1) ?? 0])) continue;
    hull.push(index);
    while (hull.length > 2 && isAbove(options, hull.slice(-3))) hull.splice(-2, 1);
  }
  return hull;
}

/** Whether the middle one of three options lies on or above the line between the others. */
function isAbove(options: readonly LayerChoice[], three: readonly number[]): boolean {
  const first = stepOf(options, three, 0);
  const second = stepOf(options, three, 1);
  return first.gain * second.weight <= second.gain * first.weight;
}
