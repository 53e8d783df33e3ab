/** The loss that a recipe allows a method: a drop of the gate's metric, or noise at the outputs on the calibration samples. */
import type { Model } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { modelFidelity } from './model-fidelity.js';

export interface LossBound {
  /** The largest score that keeps the bound. */
  readonly limit: number;
  /** The bound as the recipe words it. */
  readonly words: string;
  /** Lower is better: the drop of the metric, or minus the signal to noise ratio in dB. */
  score(candidate: Model): Promise<number>;
  /** A score in words, to follow "the best model found is". */
  tell(score: number): string;
}

/** Samples of one judgement of noise. */
const SCORED_SAMPLES = 64;

/** The bound on what is made of `model`: the judge of the gate first, else `leastSqnr` in dB; null when neither is given. */
export function lossBound(model: Model, leastSqnr: number | undefined, context: MethodContext): LossBound | null {
  const { judge, calibration } = context;
  if (judge) {
    const words = `max_metric_drop ${judge.maxDrop} of ${judge.metric}`;
    return { limit: judge.maxDrop, words, score: (each) => judge.drop(each), tell: (score) => `${score} worse` };
  }
  if (leastSqnr === undefined || !calibration) return null;
  const samples = { source: calibration, limit: SCORED_SAMPLES };
  return {
    limit: -leastSqnr,
    words: `min_sqnr_db ${leastSqnr}`,
    /** Infinite for equal outputs. */
    async score(candidate) {
      const { sqnr_db, non_finite } = await modelFidelity({ candidate, reference: model }, samples, context);
      return non_finite > 0 ? Number.POSITIVE_INFINITY : -(sqnr_db ?? Number.POSITIVE_INFINITY);
    },
    tell: (value) => `at ${(-value).toFixed(1)} dB`,
  };
}
