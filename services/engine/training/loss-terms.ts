/** The losses that a recipe can name. */

interface OfOutput {
  /** Share of the loss in the sum. Default 1. */
  readonly weight?: number;
  /** Index of a model output, default 0. */
  readonly output?: number;
}

interface OfPicture extends OfOutput {
  /** Pixels at each edge that do not count: what lies around a patch is not known. Default 0. */
  readonly border?: number;
}

/** Against labels. */
export type LabelTerm =
  | (OfOutput & { readonly kind: 'cross-entropy' | 'binary-cross-entropy' })
  | (OfOutput & { readonly kind: 'frequency' })
  | (OfPicture & { readonly kind: 'mse' | 'mae' })
  | (OfPicture & { readonly kind: 'huber'; readonly delta?: number })
  | (OfOutput & {
      readonly kind: 'quantile';
      /** Levels of the last axis of the output; one: of the whole output. */
      readonly quantiles: readonly number[];
    });

/** Against the outputs of a teacher. */
export type TeacherTerm =
  | (OfOutput & { readonly kind: 'kd'; readonly temperature?: number; readonly standardize?: boolean })
  | (OfOutput & { readonly kind: 'dkd'; readonly temperature?: number; readonly alpha?: number; readonly beta?: number })
  | (OfOutput & { readonly kind: 'dist'; readonly temperature?: number; readonly inter?: number; readonly intra?: number })
  | (OfPicture & { readonly kind: 'teacher-huber'; readonly delta?: number })
  | (OfPicture & { readonly kind: 'teacher-values' | 'teacher-mae' })
  | (OfOutput & { readonly kind: 'teacher-frequency' | 'teacher-probabilities' });

/** Of values inside both networks. */
export interface HintTerm {
  readonly kind: HintKind;
  readonly weight?: number;
  /** Names of values of the main graphs. */
  readonly student: string;
  readonly teacher: string;
  /** Of 'value-relation': heads that the values are divided into. */
  readonly heads?: number;
}

export const hintKinds = [
  'attention',
  'similarity',
  'relation',
  'relation-angles',
  'feature',
  'affinity',
  'attention-map',
  'value-relation',
] as const;
export type HintKind = (typeof hintKinds)[number];

/** One loss with its share. */
export type LossTerm = LabelTerm | TeacherTerm | HintTerm;

/** Whether the loss compares with labels, alone or beside a teacher. */
export const readsLabels: Readonly<Record<LossTerm['kind'], boolean>> = {
  ...{ 'cross-entropy': true, 'binary-cross-entropy': true, frequency: true, mse: true, mae: true, huber: true, quantile: true },
  ...{ kd: false, dkd: true, dist: false, 'teacher-huber': false, 'teacher-values': false, 'teacher-mae': false },
  ...{ 'teacher-frequency': false, 'teacher-probabilities': false },
  ...{ attention: false, similarity: false, relation: false, 'relation-angles': false, feature: false, affinity: false },
  ...{ 'attention-map': false, 'value-relation': false },
};

/**
 * Whether the loss of a batch is the mean of those of its samples, so that the mean over equal parts of the batch is the loss of the
 * whole. The others relate samples to each other or divide by a sum over the batch.
 */
export const isMeanOfSamples: Readonly<Record<LossTerm['kind'], boolean>> = {
  ...{ 'cross-entropy': true, 'binary-cross-entropy': true, frequency: true, mse: true, mae: true, huber: true, quantile: true },
  ...{ kd: true, dkd: true, dist: false, 'teacher-huber': true, 'teacher-values': false, 'teacher-mae': true },
  ...{ 'teacher-frequency': true, 'teacher-probabilities': true },
  ...{ attention: true, similarity: false, relation: false, 'relation-angles': false, feature: false, affinity: true },
  ...{ 'attention-map': true, 'value-relation': true },
};
