/** How far an order of steps can be followed within a budget: each probe builds the model that would be written, and measures it. */

export interface BudgetSearch<Built> {
  /** Steps there are. */
  readonly steps: number;
  /** Noise of the outputs after so many steps, as the search graph has it; grows with the steps. */
  readonly noise: (count: number) => Promise<number>;
  /** The model after so many steps. */
  readonly build: (count: number) => Promise<Built>;
  /** What the model loses, in the unit of `budget`. */
  readonly loss: (built: Built) => Promise<number>;
  readonly budget: number;
  /** Builds of the model at most; each costs a pass over the samples per layer. */
  readonly builds: number;
  /** Noise at which the first probe stands. */
  readonly firstNoise: number;
}

export interface BudgetFound<Built> {
  readonly count: number;
  readonly built: Built;
  readonly loss: number;
}

/**
 * The most steps whose model keeps the budget. Losses grow about as the noise does, so the next probe stands where noise * budget / loss is
 * reached, between what is known to hold and to fail; in the middle after a probe that left more than half of what was open. No steps are
 * built, and returned whatever they lose, when every probe failed.
 */
export async function longestWithin<Built>(search: BudgetSearch<Built>): Promise<BudgetFound<Built>> {
  let held: BudgetFound<Built> | undefined;
  const open = { from: 0, to: search.steps + 1 };
  let wanted: number | null = search.firstNoise;
  for (let builds = 0; builds < search.builds && open.to - open.from > 1; builds += 1) {
    const before = open.to - open.from;
    const guess: number = wanted === null ? Math.floor((open.from + open.to) / 2) : await stepsBelow(search, wanted, open);
    const count = Math.max(open.from + 1, Math.min(open.to - 1, guess));
    const built = await search.build(count);
    const loss = await search.loss(built);
    if (loss <= search.budget) {
      held = { count, built, loss };
      open.from = count;
    } else open.to = count;
    const isSlow = 2 * (open.to - open.from) > before;
    wanted = isSlow || !(loss > 0) ? null : ((await search.noise(count)) * search.budget) / loss;
  }
  if (held) return held;
  const built = await search.build(0);
  return { count: 0, built, loss: await search.loss(built) };
}

/** The most steps after which the noise is at most `wanted`, by bisection. */
async function stepsBelow<Built>(
  { noise }: BudgetSearch<Built>,
  wanted: number,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<number> {
  let [low, high] = [from, to];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if ((await noise(middle)) <= wanted) low = middle;
    else high = middle;
  }
  return low;
}
