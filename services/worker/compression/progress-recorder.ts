/** Progress as clients see it: every new phase at once, within a phase now and then, the more seldom the longer it lasts. */
import type { JobLease, JobLeaseRepository } from '#platform/db';
import type { EngineProgress } from './engine-host.js';

export interface ProgressRecorder {
  record(progress: EngineProgress): void;
  phase(): string | null;
  /** No more progress comes. Resolves when nothing is being written. */
  settled(): Promise<void>;
}

/**
 * Each report is an event that stays in the database: a phase of hours (training) tells as much in its last hour as in its first
 * minutes. One report per hundredth of the time that has passed, but at least one in this time.
 */
const SHARE_OF_PHASE = 0.01;
const INTERVAL_MAX_MS = 30_000;

/** Writes one at a time; what comes meanwhile replaces what waits. A failed write is dropped: the next one says more. */
export function createProgressRecorder(options: {
  leases: Pick<JobLeaseRepository, 'recordProgress'>;
  lease: JobLease;
  intervalMs: number;
  onPhaseEnded: (phase: string, seconds: number) => void;
  onError: (error: unknown) => void;
}): ProgressRecorder {
  let phase: string | null = null;
  let phaseSince = 0;
  let lastWrite = 0;
  let waiting: EngineProgress | null = null;
  let writing: Promise<void> | null = null;

  const write = async () => {
    while (waiting !== null) {
      const { phase: name, fraction, message, etaSeconds } = waiting;
      waiting = null;
      lastWrite = performance.now();
      const progress = { fraction, message, eta_seconds: etaSeconds === null ? null : Math.round(etaSeconds) };
      await options.leases.recordProgress(options.lease, name, progress).catch(options.onError);
    }
    writing = null;
  };
  const endPhase = () => {
    const now = performance.now();
    if (phase !== null) options.onPhaseEnded(phase, (now - phaseSince) / 1000);
    phaseSince = now;
  };
  return {
    record: (progress) => {
      const now = performance.now();
      const interval = Math.max(options.intervalMs, Math.min(INTERVAL_MAX_MS, SHARE_OF_PHASE * (now - phaseSince)));
      const due = progress.phase !== phase || now - lastWrite >= interval;
      if (progress.phase !== phase) endPhase();
      phase = progress.phase;
      if (!due) return;
      waiting = progress;
      writing ??= write();
    },
    phase: () => phase,
    settled: async () => {
      endPhase();
      await writing;
    },
  };
}
