/** What the optimizer asks of a rule: write how one parameter moves by its gradient, as nodes of the training graph. */
import { EngineError } from '../../engine-errors.js';
import type { GraphWriter, Value } from '../../ir/index.js';

export interface UpdateScope {
  readonly write: GraphWriter;
  /** The parameter before the step. */
  readonly value: Value;
  /** dL/dvalue, of the same sizes. */
  readonly gradient: Value;
  /** One value per name in `UpdateRule.buffers`, of the same sizes; zeros before the first step. */
  readonly buffers: readonly Value[];
  /** One scalar per name in `UpdateRule.rates`. */
  readonly rates: readonly Value[];
  /** False for biases, normalizations and quantization scales: weight decay leaves them alone. */
  readonly decays: boolean;
}

export interface Update {
  readonly value: Value;
  readonly buffers: readonly Value[];
}

export interface UpdateRule {
  /** Names of what the rule remembers of each parameter. */
  readonly buffers: readonly string[];
  /** Names of the numbers that a step is given. */
  readonly rates: readonly string[];
  /** Those numbers in step `step`, counted from 1, in float64. */
  ratesAt(step: number, learningRate: number): readonly number[];
  write(scope: UpdateScope): Update;
}

/** The value at `index`, which the rule asked for by name. */
export function nth(values: readonly Value[], index: number): Value {
  const value = values[index];
  if (!value) throw new RangeError(`the rule was given ${values.length} values, not ${index + 1}`);
  return value;
}

/** b x + (1 - b) y. */
export function blended(write: GraphWriter, kept: number, x: Value, y: Value): Value {
  return write.node('Add', [write.node('Mul', [x, write.float(kept)]), write.node('Mul', [y, write.float(1 - kept)])]);
}

/** g + wd p; g itself where nothing decays. */
export function slopeWithDecay({ write, value, gradient, decays }: UpdateScope, weightDecay: number): Value {
  if (!decays || weightDecay === 0) return gradient;
  return write.node('Add', [gradient, write.node('Mul', [value, write.float(weightDecay)])]);
}

/** Throws EngineError `recipe_invalid` unless every share is at least 0 and below 1. */
export function requireShares(what: string, shares: readonly number[]): void {
  for (const share of shares)
    if (!(share >= 0 && share < 1)) throw new EngineError('recipe_invalid', `${what} must be at least 0 and below 1, not ${share}.`);
}

/** Throws EngineError `recipe_invalid` for a decay below 0. */
export function requireDecay(weightDecay: number): void {
  if (!(weightDecay >= 0 && weightDecay < Number.POSITIVE_INFINITY))
    throw new EngineError('recipe_invalid', `weightDecay must be at least 0, not ${weightDecay}.`);
}
