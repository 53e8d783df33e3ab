/** The job: its states and the total table of legal moves between them. */

export const jobStates = ['queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled', 'expired'] as const;
export type JobState = (typeof jobStates)[number];

/** Every legal move. `running -> queued` is a lost or released worker; the attempt counter tells them apart. */
export const jobTransitions = {
  queued: ['running', 'canceled', 'expired', 'failed'],
  running: ['queued', 'canceling', 'succeeded', 'failed', 'canceled'],
  canceling: ['canceled', 'failed'],
  succeeded: [],
  failed: [],
  canceled: [],
  expired: [],
} as const satisfies Record<JobState, readonly JobState[]>;

export function isTerminal(state: JobState): boolean {
  return jobTransitions[state].length === 0;
}

export function canMove(from: JobState, to: JobState): boolean {
  return (jobTransitions[from] as readonly JobState[]).includes(to);
}

/** `job.progress`. */
export interface JobProgress {
  /** 0 to 1 over the whole job. */
  readonly fraction: number;
  readonly message: string;
  readonly eta_seconds: number | null;
}

/** `job.error`. */
export interface JobError {
  readonly code: string;
  readonly message: string;
  readonly phase: string | null;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
}
