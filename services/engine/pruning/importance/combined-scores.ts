/** Scores of several layers become one per unit, comparable between groups. */
import type { Normalizer, Reduction } from './options.js';

const reductions: Readonly<Record<Reduction, (scores: readonly number[]) => number>> = {
  sum: (scores) => scores.reduce((a, b) => a + b, 0),
  mean: (scores) => scores.reduce((a, b) => a + b, 0) / scores.length,
  max: (scores) => Math.max(...scores),
  first: (scores) => scores[0] ?? 0,
  product: (scores) => scores.reduce((a, b) => a * b, 1),
};

/** [units] from [layers] of [units]; the layers are brought to mean 1 first, so that a large one does not drown the others. */
export function combinedScores(layers: readonly Float64Array[], reduction: Reduction, normalizer: Normalizer): Float64Array {
  const units = layers[0]?.length ?? 0;
  const level = layers.map((scores) => (layers.length > 1 ? normalized(scores, 'mean') : scores));
  const reduced = Float64Array.from({ length: units }, (_, unit) => reductions[reduction](level.map((scores) => scores[unit] ?? 0)));
  return normalized(reduced, normalizer);
}

/** 'gaussian': (s - mean) / deviation; the others divide. A group without any score stays as it is. */
function normalized(scores: Float64Array, normalizer: Normalizer): Float64Array {
  const mean = scores.reduce((a, b) => a + b, 0) / Math.max(1, scores.length);
  const divided = (by: number): Float64Array => (by > 0 ? scores.map((score) => score / by) : scores);
  switch (normalizer) {
    case 'none':
      return scores;
    case 'mean':
      return divided(mean);
    case 'max':
      return divided(scores.reduce((a, b) => Math.max(a, b), 0));
    case 'gaussian': {
      const deviation = Math.sqrt(scores.reduce((total, score) => total + (score - mean) ** 2, 0) / Math.max(1, scores.length));
      return deviation > 0 ? scores.map((score) => (score - mean) / deviation) : scores.map(() => 0);
    }
  }
}
