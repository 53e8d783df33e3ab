/** Options of structured pruning, as the recipe writes them. */
import type { ImportanceOptions, Ranking } from './importance/options.js';

/** Fractions of the figures of the source that may be kept; all that are given must hold. */
export interface PruningBudget {
  readonly macs?: number;
  readonly parameters?: number;
  readonly bytes?: number;
  readonly latency?: number;
}

export interface StructuredPruningOptions extends ImportanceOptions {
  /** Default: half of the multiply-accumulates. */
  readonly budget?: PruningBudget;
  /** Default 'global'. */
  readonly ranking?: Ranking;
  /** Weigh groups by what pruning each alone does to the outputs. Default: true when the criterion is not reconstruction and there are samples. */
  readonly sensitivity?: boolean;
  /** Default: the fastest multiple up to the block of the processor, measured; 1 where none keeps the budget. */
  readonly round_to?: number | 'auto';
  readonly min_channels?: number;
  /** Default 0.8. */
  readonly max_removed?: number;
  /** Let residual branches become one linear layer, or go: where the criterion is reconstruction and layers are repaired. Default true there. */
  readonly remove_branches?: boolean;
  /** Names of layers whose outputs keep all channels; '*' stands for any characters. */
  readonly exclude?: readonly string[];
  /** Default false. */
  readonly approximate?: boolean;
  /** Default 1. */
  readonly steps?: number;
  /** Default true when there are samples. */
  readonly repair?: boolean;
}

/** Bounds on single layers keep the branches unless the recipe asks. */
export function removesBranches(options: StructuredPruningOptions): boolean {
  const { remove_branches, criterion, repair, ranking, min_channels, max_removed } = options;
  const isPossible = (criterion ?? 'reconstruction') === 'reconstruction' && repair !== false && (ranking ?? 'global') === 'global';
  return isPossible && (remove_branches ?? (min_channels === undefined && max_removed === undefined));
}

export const DEFAULT_BUDGET: PruningBudget = { macs: 0.5 };
export const DEFAULT_MAX_REMOVED = 0.8;
