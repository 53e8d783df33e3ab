/** How far a layer may move: as far as rows that were held out agree with. */
import type { FitSums, SplitSums } from './fit-sums.js';
import { errorAfter, NormalEquations, type WeightChange } from './least-squares.js';

const RIDGES = [1e-4, 1e-3, 1e-2, 1e-1, 1];
/** A larger ridge has to be better by this share: smaller differences are chance. */
const GAIN = 0.005;

/**
 * The smallest ridge, as a share of the mean of the diagonal, after which the next larger one is hardly better on the rows held out, for
 * weights fitted to the others; 1e-4 when none were held out. Null when every ridge is worse there than weights that stay.
 */
export function chooseRidge({ all, heldOut }: SplitSums, hasBias: boolean): number | null {
  const [first = 0] = RIDGES;
  if (heldOut.rows === 0) return first;
  const others = without(all, heldOut);
  const equations = new NormalEquations(others, hasBias);
  let best: { ridge: number; error: number } | null = null;
  for (const ridge of RIDGES) {
    const fit = equations.fit(ridge);
    const error = fit ? errorAfter(heldOut, fit.solve(others)) : Number.NaN;
    if (!Number.isFinite(error)) break;
    if (best && error >= (1 - GAIN) * best.error) break;
    best = { ridge, error };
  }
  return best && best.error < errorAfter(heldOut, meanShift(others, hasBias)) ? best.ridge : null;
}

/** No weight changes; the bias takes the mean of the error, which compensates the means of what was removed. */
export function meanShift({ groups, depth, outputs, errors, rows }: FitSums, hasBias: boolean): WeightChange {
  return { weights: new Float64Array(groups * depth * outputs), bias: errors.map((sum) => (hasBias ? sum / rows : 0)) };
}

function without(all: FitSums, part: FitSums): FitSums {
  const difference = (from: Float64Array, what: Float64Array): Float64Array => from.map((value, at) => value - (what[at] ?? 0));
  return {
    ...all,
    rows: all.rows - part.rows,
    gram: difference(all.gram, part.gram),
    ...(all.blocks ? { blocks: all.blocks.filter((block) => !part.blocks?.includes(block)) } : {}),
    inputs: difference(all.inputs, part.inputs),
    cross: difference(all.cross, part.cross),
    errors: difference(all.errors, part.errors),
    squares: difference(all.squares, part.squares),
  };
}
