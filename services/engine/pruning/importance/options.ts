/** How the units of a model are compared, as the recipe writes it. */

/** Criteria that look at weights alone. */
export const weightCriteria = ['l1', 'l2', 'bn-scale', 'lamp', 'fpgm'] as const;
export type WeightCriterion = (typeof weightCriteria)[number];

/** Criteria that look at what the units carry on samples. */
export const activationCriteria = ['activation-mean', 'apoz', 'activation-std'] as const;
export type ActivationCriterion = (typeof activationCriteria)[number];

/** Criteria that need gradients of a loss on samples. */
export const gradientCriteria = ['taylor', 'fisher', 'obs'] as const;
export type GradientCriterion = (typeof gradientCriteria)[number];

/**
 * 'reconstruction': the error that stays in the consumers' outputs after the remaining inputs have made good what they can; needs
 * samples.
 */
export type Criterion = 'reconstruction' | WeightCriterion | ActivationCriterion | GradientCriterion | 'random';

/** How the scores that a unit has in the several layers of its group become one. */
export type Reduction = 'sum' | 'mean' | 'max' | 'first' | 'product';

/** What the scores of a group are divided by, so that groups can be compared: 'gaussian' is (s - mean) / deviation. */
export type Normalizer = 'mean' | 'max' | 'gaussian' | 'none';

/** 'global': all units against each other; 'per-layer': the same share of each group; 'isomorphic': the same share of groups of one form. */
export type Ranking = 'global' | 'per-layer' | 'isomorphic';

export interface ImportanceOptions {
  /** Default 'reconstruction' with samples, 'l2' without. */
  readonly criterion?: Criterion;
  /** Default 'mean'. Without effect on 'reconstruction', as the next one. */
  readonly reduction?: Reduction;
  /** Default 'mean'. */
  readonly normalizer?: Normalizer;
  /** Of 'random'. Default 0. */
  readonly seed?: number;
}
