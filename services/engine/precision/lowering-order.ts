/** In which order widths are lowered: the step next that saves most for what it adds to the noise. */

/** A tensor and what each of its widths alone does to the outputs. */
export interface TensorWidths {
  readonly name: string;
  /** Bits, falling; the first is the width that it has. */
  readonly widths: readonly number[];
  /** Noise of the outputs in each width. */
  readonly noise: readonly number[];
}

export interface LoweringStep {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** What the step takes off the cost, and puts on the sum of the noises. */
  readonly saved: number;
  readonly noise: number;
}

/** Noise that no measurement tells from none: steps that add less are taken by what they save. */
const NOISE_FLOOR = 1e-12;

/**
 * Steps from the first widths until none saves anything. Noises of tensors that are rounded apart add up, so the order follows from what
 * each does alone: of all lower widths of all tensors that with the largest saved / added noise is next. A width that saves nothing (in words of 8
 * bits, 7 are 8) is passed over. `cost` need not be a sum over tensors.
 */
export function loweringOrder(tensors: readonly TensorWidths[], cost: (widths: ReadonlyMap<string, number>) => number): LoweringStep[] {
  const at = tensors.map(() => 0);
  const steps: LoweringStep[] = [];
  for (;;) {
    const widths = new Map(tensors.map(({ name, widths: own }, tensor) => [name, own[at[tensor] ?? 0] ?? 0]));
    const before = cost(widths);
    let best: { step: LoweringStep; tensor: number; index: number; gain: number } | undefined;
    for (const [tensor, each] of tensors.entries()) {
      const current = at[tensor] ?? 0;
      for (let index = current + 1; index < each.widths.length; index += 1) {
        const to = each.widths[index] ?? 0;
        const saved = before - cost(new Map([...widths, [each.name, to]]));
        const noise = Math.max(0, (each.noise[index] ?? 0) - (each.noise[current] ?? 0));
        const gain = saved / Math.max(noise, NOISE_FLOOR);
        if (!(saved > before * Number.EPSILON) || (best && gain <= best.gain)) continue;
        best = { step: { name: each.name, from: each.widths[current] ?? 0, to, saved, noise }, tensor, index, gain };
      }
    }
    if (!best) return steps;
    steps.push(best.step);
    at[best.tensor] = best.index;
  }
}

/** The widths after the first `count` steps; tensors that were not lowered are missing. */
export function widthsAfter(steps: readonly LoweringStep[], count: number): ReadonlyMap<string, number> {
  return new Map(steps.slice(0, count).map(({ name, to }) => [name, to]));
}
