/** Progress of a compression: one fraction over all phases, with the time that is probably left. */
import { learningMethods } from '../method.js';
import type { CompressionStep, MethodName } from './plan.js';

export type Phase = 'decode' | MethodName | 'verify' | 'measure' | 'report';

export interface ProgressEvent {
  readonly phase: Phase;
  /** Of the whole work, 0 to 1. */
  readonly fraction: number;
  /** Seconds, extrapolated from what has passed; null while too little has. */
  readonly eta_s: number | null;
  readonly message: string;
}

/**
 * Shares of the wall time of a small model, where measuring dominates, and steps that learn take longer than all else; only the bar's
 * smoothness and the time that is left depend on them.
 */
const weights = { decode: 2, step: 10, learning: 400, verify: 6, measure: 40, report: 1 } as const;
const weightOf = (method: MethodName): number => (learningMethods.has(method) || method === 'qat' ? weights.learning : weights.step);
const FRACTION_FOR_ETA = 0.05;
/** Smaller steps of the same phase with the same message are no news. */
const FRACTION_STEP = 0.01;

/** Phases in order, each with its share; calls `listen` whenever there is news. */
export class ProgressMeter {
  private readonly started = performance.now();
  private readonly total: number;
  private done = 0;
  private phase: Phase = 'decode';
  private phaseStarted = this.started;
  private share = 0;
  private told = { fraction: -1, message: '' };
  private readonly seconds: Record<string, number> = {};

  constructor(
    steps: readonly CompressionStep[],
    private readonly listen: (event: ProgressEvent) => void,
  ) {
    const ends = weights.decode + weights.verify + weights.measure + weights.report;
    this.total = steps.reduce((sum, { method }) => sum + weightOf(method), ends);
  }

  /** Ends the phase before and begins `phase`. */
  begin(phase: Phase, message: string): void {
    this.end();
    this.phase = phase;
    this.phaseStarted = performance.now();
    this.share = phase === 'decode' || phase === 'verify' || phase === 'measure' || phase === 'report' ? weights[phase] : weightOf(phase);
    this.told = { fraction: -1, message: '' };
    this.within(0, message);
  }

  /** `fraction` of the present phase is done. */
  within(fraction: number, message: string): void {
    const overall = Math.min(1, (this.done + this.share * Math.max(0, Math.min(1, fraction))) / this.total);
    if (message === this.told.message && overall - this.told.fraction < FRACTION_STEP) return;
    this.told = { fraction: overall, message };
    const elapsed = (performance.now() - this.started) / 1000;
    const eta = overall >= FRACTION_FOR_ETA ? (elapsed * (1 - overall)) / overall : null;
    this.listen({ phase: this.phase, fraction: overall, eta_s: eta, message });
  }

  /** Wall seconds of the phases that have ended, to the millisecond. */
  elapsed(): Readonly<Record<string, number>> {
    return Object.fromEntries(Object.entries(this.seconds).map(([phase, seconds]) => [phase, Math.round(seconds * 1000) / 1000]));
  }

  /** Ends the last phase. */
  end(): void {
    this.done += this.share;
    if (this.share > 0) this.seconds[this.phase] = (this.seconds[this.phase] ?? 0) + (performance.now() - this.phaseStarted) / 1000;
    this.share = 0;
  }
}
