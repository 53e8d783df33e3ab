/** Returns units to what they were until the loss that the recipe allows is kept, and says what came of it. */
import type { MethodContext } from '../method.js';
import { type ControlRequest, controlAccuracy } from './accuracy-control.js';
import type { LossBound } from './loss-bound.js';

export interface BoundedUnitsRequest extends Pick<ControlRequest, 'build' | 'rank'> {
  readonly ids: readonly string[];
  readonly bound: LossBound;
  /** What a unit returns to, for the report: 'float32', 'dense', 'full rank'. */
  readonly form: string;
}

export interface BoundedUnits {
  /** Units that returned, with the reason for the report. */
  readonly reverted: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

export async function boundUnits(
  { ids, bound, form, build, rank }: BoundedUnitsRequest,
  { signal, progress }: MethodContext,
): Promise<BoundedUnits> {
  const { score, limit, words } = bound;
  const result = await controlAccuracy({ units: ids.map((id) => ({ id })), build, rank, score, limit, signal, progress });
  const reason = `returned to ${form} to keep ${words}`;
  return {
    reverted: new Map(result.reverted.map((id) => [id, reason] as const)),
    warnings: result.met
      ? []
      : [`accuracy: ${words} cannot be kept by returning layers to ${form}; the best model found is ${bound.tell(result.score)}.`],
  };
}
