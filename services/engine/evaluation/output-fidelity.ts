/** How far one output of the artifact is from the source's, accumulated over a stream in one pass. */
import { RunningSum } from './running-sum.js';

/** null where the quantity is not defined (no finite elements). */
export interface OutputFidelity {
  readonly sqnr_db: number | null;
  readonly cosine: number | null;
  readonly max_abs_error: number | null;
  /** Elements where one side is finite and the other is not, or both are not and differ. */
  readonly non_finite: number;
  /** Elements that are the same NaN or infinity in both; left out of the other numbers. */
  readonly non_finite_alike: number;
}

/** Float64 sums of squares cannot tell more: equal outputs are given this instead of infinity, which JSON lacks. */
export const SQNR_MAX_DB = 200;

/**
 * With r the reference and a the artifact, over all finite elements:
 *   SQNR   = 10 log10( sum r^2 / sum (r - a)^2 )  in dB
 *   cosine = sum r a / sqrt( sum r^2 sum a^2 )
 */
export class OutputFidelityAccumulator {
  private readonly signal = new RunningSum();
  private readonly noise = new RunningSum();
  private readonly artifactEnergy = new RunningSum();
  private readonly product = new RunningSum();
  private maxAbsError = 0;
  private finite = 0;
  private nonFinite = 0;
  private nonFiniteAlike = 0;

  /** The first `count` elements of both. */
  add(reference: ArrayLike<number>, artifact: ArrayLike<number>, count = reference.length): void {
    for (let index = 0; index < count; index++) this.addPair(reference[index] ?? Number.NaN, artifact[index] ?? Number.NaN);
  }

  private addPair(r: number, a: number): void {
    const error = r - a;
    if (!Number.isFinite(error)) {
      if (Object.is(r, a)) this.nonFiniteAlike += 1;
      else this.nonFinite += 1;
      return;
    }
    this.finite += 1;
    this.signal.add(r * r);
    this.noise.add(error * error);
    this.artifactEnergy.add(a * a);
    this.product.add(r * a);
    const magnitude = Math.abs(error);
    if (magnitude > this.maxAbsError) this.maxAbsError = magnitude;
  }

  get result(): OutputFidelity {
    const counts = { non_finite: this.nonFinite, non_finite_alike: this.nonFiniteAlike };
    if (this.finite === 0) return { sqnr_db: null, cosine: null, max_abs_error: null, ...counts };
    return { sqnr_db: this.sqnr(), cosine: this.cosine(), max_abs_error: this.maxAbsError, ...counts };
  }

  private sqnr(): number {
    if (this.noise.value === 0) return SQNR_MAX_DB;
    const decibels = 10 * Math.log10(this.signal.value / this.noise.value);
    return Math.max(-SQNR_MAX_DB, Math.min(SQNR_MAX_DB, decibels));
  }

  /** Two zero vectors point the same way; a zero vector and another do not. */
  private cosine(): number {
    const norms = Math.sqrt(this.signal.value) * Math.sqrt(this.artifactEnergy.value);
    if (norms === 0) return this.signal.value === this.artifactEnergy.value ? 1 : 0;
    return Math.max(-1, Math.min(1, this.product.value / norms));
  }
}
