/** Accuracy control: units that a method changed return to what they were, the most harmful first, until a bound on the loss holds. */
import type { Model } from '../ir/index.js';

/** What is quantized or reverted as one, for example a layer with the tensors that it alone reads. */
export interface RevertibleUnit {
  readonly id: string;
}

export interface ControlRequest {
  readonly units: readonly RevertibleUnit[];
  /** The model with all units quantized but `reverted`, whose original weights and biases are back. */
  build(reverted: ReadonlySet<string>): Promise<Model>;
  /** Lower is better: the drop of a metric, or minus a signal to noise ratio. NaN counts as the worst. */
  score(candidate: Model): Promise<number>;
  /** The largest score that is good enough. */
  readonly limit: number;
  /** These units, all of them quantized now, the most harmful first; asked for again when the order turned out to mislead. */
  rank(units: readonly string[]): Promise<readonly string[]>;
  readonly signal: AbortSignal;
  progress(fraction: number, message: string): void;
}

export interface ControlResult {
  /** The first model that met the limit, or the best that was found. */
  readonly model: Model;
  readonly reverted: readonly string[];
  readonly score: number;
  readonly met: boolean;
  /** Models that were scored. */
  readonly trials: number;
}

interface Trial {
  readonly model: Model;
  readonly reverted: readonly string[];
  readonly score: number;
  /** Those of the reverted units whose own step did not improve the score. */
  readonly tolerated: readonly string[];
}

/** Steps in a row that may fail to improve on the best score, as two units may hurt only together. */
const TOLERATED = 1;

/**
 * NNCF's loop (methods.md 3.9): revert the best-ranked unit, score, stop when score <= limit. One step that does not
 * improve is tolerated; after a second the search returns to the best model and ranks the rest anew. Units that failed on a
 * best model are not tried on it again, so the loop ends; when it ends above the limit, the float model is the last resort.
 * Tolerated units that turn out not to have been needed are quantized again.
 */
export async function controlAccuracy(request: ControlRequest): Promise<ControlResult> {
  return new AccuracySearch(request).run();
}

class AccuracySearch {
  private trials = 0;

  constructor(private readonly request: ControlRequest) {}

  async run(): Promise<ControlResult> {
    const { units, limit } = this.request;
    let best = await this.attempt([], []);
    for (let better: Trial | undefined = best; better && best.score > limit; ) {
      better = await this.improved(best);
      best = better ?? best;
    }
    if (best.score > limit && best.reverted.length < units.length) {
      const float = await this.attempt(
        units.map(({ id }) => id),
        [],
      );
      if (float.score < best.score) best = float;
    }
    const { model, reverted, score } = await this.withoutNeedless(best);
    return { model, reverted, score, met: score <= limit, trials: this.trials };
  }

  private async withoutNeedless(best: Trial): Promise<Trial> {
    let kept = best;
    for (const id of best.tolerated) {
      const without = (ids: readonly string[]): string[] => ids.filter((each) => each !== id);
      const candidate = await this.attempt(without(kept.reverted), without(kept.tolerated));
      if (candidate.score <= Math.max(kept.score, this.request.limit)) kept = candidate;
    }
    return kept;
  }

  private async attempt(reverted: readonly string[], tolerated: readonly string[]): Promise<Trial> {
    const { units, signal, progress } = this.request;
    signal.throwIfAborted();
    progress(this.trials / (this.trials + units.length + 1), `${reverted.length} of ${units.length} units returned`);
    const model = await this.request.build(new Set(reverted));
    const score = await this.request.score(model);
    this.trials += 1;
    return { model, reverted, score: Number.isNaN(score) ? Number.POSITIVE_INFINITY : score, tolerated };
  }

  /** The best model reached from `best` along one ranking, or undefined when every unit was tried in vain. */
  private async improved(best: Trial): Promise<Trial | undefined> {
    const inVain = new Set<string>();
    for (;;) {
      const queue = await this.ranked(best, inVain);
      if (queue.length === 0) return undefined;
      const reached = await this.follow(best, queue, inVain);
      if (reached.score < best.score) return reached;
    }
  }

  /** Reverts along `queue` until the limit holds or more than the tolerated steps in a row do not improve. */
  private async follow(start: Trial, queue: readonly string[], inVain: Set<string>): Promise<Trial> {
    let best = start;
    let current = start;
    let failures = 0;
    for (const id of queue) {
      current = await this.attempt([...current.reverted, id], current.tolerated);
      if (current.score < best.score) {
        best = current;
        failures = 0;
        if (best.score <= this.request.limit) break;
        continue;
      }
      if (current.reverted.length === start.reverted.length + 1) inVain.add(id);
      current = { ...current, tolerated: [...current.tolerated, id] };
      failures += 1;
      if (failures > TOLERATED) break;
    }
    return best;
  }

  /** Units that are quantized in `trial` and were not tried on it in vain; those that the ranking leaves out come last. */
  private async ranked(trial: Trial, inVain: ReadonlySet<string>): Promise<readonly string[]> {
    const quantized = this.request.units.map(({ id }) => id).filter((id) => !trial.reverted.includes(id) && !inVain.has(id));
    if (quantized.length < 2) return quantized;
    const open = new Set(quantized);
    const ranking = (await this.request.rank(quantized)).filter((id) => open.has(id));
    return [...new Set([...ranking, ...quantized])];
  }
}
