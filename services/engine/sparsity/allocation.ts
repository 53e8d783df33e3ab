/** How a share of zeros is divided among layers: alike, by the magnitudes of all weights, or by the shapes of the layers. */
import type { Allocation } from './options.js';
import { type Pattern, unitCount } from './pattern.js';
import { patternRows, type WeightForm } from './pattern-rows.js';
import { SmallestScores } from './smallest-scores.js';
import { unitScores } from './zero-mask.js';

export interface AllocatedWeight {
  /** In memory order. */
  readonly values: Float32Array;
  readonly form: WeightForm;
  readonly pattern: Pattern;
}

/** Share of the largest weights of each layer that a comparison across layers leaves: no layer may vanish. */
const KEPT_SHARE = 0.01;

/** Fraction of zeros of each weight, in units of the pattern; over all units it is `fraction`, up to what rounding makes of it. */
export function allocate(
  weights: readonly AllocatedWeight[],
  { fraction, allocation }: { readonly fraction: number; readonly allocation: Allocation },
): number[] {
  switch (allocation) {
    case 'uniform':
      return weights.map(() => fraction);
    case 'global':
      return comparedAcross(weights.map(kept), fraction);
    case 'lamp':
      return comparedAcross(weights.map(lampScores), fraction);
    case 'erk':
      return erdosRenyi(weights, fraction);
    default:
      return allocation satisfies never;
  }
}

/** How many of the scores of each weight are among the smallest of all. */
function comparedAcross(scores: readonly Float32Array[], fraction: number): number[] {
  const total = scores.reduce((sum, { length }) => sum + length, 0);
  const smallest = new SmallestScores(scores, Math.round(fraction * total));
  return scores.map((part) => part.reduce((count, score) => count + (smallest.takes(score) ? 1 : 0), 0) / part.length);
}

/** Magnitudes of weights, or of blocks. */
function magnitudes({ values, form, pattern }: AllocatedWeight): Float32Array {
  return unitScores(Float32Array.from(patternRows(values, form), Math.abs), form.matrix, pattern);
}

/** Magnitudes; infinite for the largest of the layer. */
function kept(weight: AllocatedWeight): Float32Array {
  const scores = magnitudes(weight);
  const smaller = new SmallestScores([scores], scores.length - Math.ceil(KEPT_SHARE * scores.length));
  return scores.map((score) => (smaller.takes(score) ? score : Number.POSITIVE_INFINITY));
}

/** LAMP (Lee et al. 2021, arXiv 2010.07611): w_i^2 / sum of w_j^2 over all w_j that are not smaller. 1 for the largest of each layer. */
function lampScores(weight: AllocatedWeight): Float32Array {
  const ascending = magnitudes(weight).sort();
  let rest = 0;
  for (let at = ascending.length - 1; at >= 0; at -= 1) {
    const square = (ascending[at] ?? 0) ** 2;
    rest += square;
    ascending[at] = rest === 0 ? 0 : square / rest;
  }
  return ascending;
}

/**
 * Erdos-Renyi kernel (Evci et al. 2020, arXiv 1911.11134): the density of a layer is proportional to
 * (inputs + outputs + kernel sizes) / (inputs * outputs * positions of the kernel), which leaves small layers dense; those that
 * the common factor would make denser than 1 stay dense, and the others share what remains.
 */
function erdosRenyi(weights: readonly AllocatedWeight[], fraction: number): number[] {
  const units = weights.map(({ pattern, form }) => unitCount(pattern, form.matrix));
  const raw = weights.map(({ form }) => rawDensity(form));
  const budget = (1 - fraction) * units.reduce((a, b) => a + b, 0);
  const dense = new Set<number>();
  for (;;) {
    const open = weights.map((_, at) => at).filter((at) => !dense.has(at));
    const spent = [...dense].reduce((sum, at) => sum + (units[at] ?? 0), 0);
    const factor = (budget - spent) / open.reduce((sum, at) => sum + (raw[at] ?? 0) * (units[at] ?? 0), 0);
    const full = open.filter((at) => factor * (raw[at] ?? 0) > 1);
    if (full.length === 0) return weights.map((_, at) => (dense.has(at) ? 0 : 1 - factor * (raw[at] ?? 0)));
    for (const at of full) dense.add(at);
  }
}

function rawDensity({ matrix: { rows, depth, inputs }, kernel }: WeightForm): number {
  return (inputs + rows + kernel.reduce((a, b) => a + b, 0)) / (depth * rows);
}
