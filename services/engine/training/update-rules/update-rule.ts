/** What the optimizer asks of a rule: move one parameter by one gradient, in place. */
import { EngineError } from '../../engine-errors.js';

export interface ParameterUpdate {
  /** The parameter; moved in place. */
  readonly values: Float32Array;
  /** dL/dvalues, of the same length; left as it is. */
  readonly gradient: Float32Array;
  /** One array per name in `UpdateRule.buffers`, of the same length; zeros before the first step. */
  readonly buffers: readonly Float32Array[];
  /** Steps of this parameter, this one included: 1 at first. */
  readonly step: number;
  readonly learningRate: number;
  /** Zero for a parameter that does not decay. */
  readonly weightDecay: number;
}

export interface UpdateRule {
  /** Names of what the rule remembers of each parameter. */
  readonly buffers: readonly string[];
  /** Share of the weights that decay takes per unit of learning rate. */
  readonly weightDecay: number;
  /** Computed in float64, kept in float32: the same arrays give the same bits on every machine. */
  update(update: ParameterUpdate): void;
}

const none = new Float32Array();

export function bufferOf({ buffers }: ParameterUpdate, index: number): Float32Array {
  return buffers[index] ?? none;
}

/** Throws EngineError `recipe_invalid` unless every share is at least 0 and below 1. */
export function requireShares(what: string, shares: readonly number[]): void {
  for (const share of shares)
    if (!(share >= 0 && share < 1)) throw new EngineError('recipe_invalid', `${what} must be at least 0 and below 1, not ${share}.`);
}
