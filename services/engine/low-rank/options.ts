/** Options of low-rank; what each means is told in the schema of the recipe (contracts/compression-recipe.ts). */
export type FormName = 'svd' | 'spatial-svd' | 'tucker' | 'cp';

/** Fraction of the source that is kept; one of them. */
export interface LowRankBudget {
  readonly macs?: number;
  readonly parameters?: number;
  readonly bytes?: number;
}

export interface LowRankOptions {
  readonly rank?: 'energy' | 'budget' | 'evbmf';
  readonly energy?: number;
  readonly budget?: LowRankBudget;
  readonly forms?: readonly FormName[];
  readonly multiple_of?: number;
  readonly activation_aware?: boolean;
  readonly min_sqnr_db?: number;
  readonly exclude?: readonly string[];
}
