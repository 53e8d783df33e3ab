/** Keeps a claimed job ours while it runs, and says when it has to stop: canceled by its owner, or taken over by another worker. */
import type { JobLease, JobLeaseRepository } from '#platform/db';
import type { StopReason } from './failure-policy.js';

export interface LeaseKeeperOptions {
  readonly leases: Pick<JobLeaseRepository, 'renew'>;
  readonly lease: JobLease;
  readonly heartbeatMs: number;
  readonly onError: (error: unknown) => void;
}

export interface LeaseKeeper {
  /** Aborted when the job has to stop. */
  readonly signal: AbortSignal;
  /** Why; null while it may go on. */
  reason(): StopReason | null;
  stop(reason: StopReason): void;
  /** Looks now: a cancellation was announced. */
  check(): void;
  end(): void;
}

export function keepLease({ leases, lease, heartbeatMs, onError }: LeaseKeeperOptions): LeaseKeeper {
  const controller = new AbortController();
  let reason: StopReason | null = null;
  let busy = false;
  const stop = (why: StopReason) => {
    // A lost lease outranks the rest: nothing may be written any more.
    if (reason === null || why === 'lease_lost') reason = why;
    controller.abort();
  };
  const check = async () => {
    if (busy) return;
    busy = true;
    try {
      const state = await leases.renew(lease);
      if (state === 'lost') stop('lease_lost');
      if (state === 'cancel_requested') stop('canceled');
    } catch (error) {
      // The database is away. The work goes on: if another worker takes the job over meanwhile, the epoch refuses what we write.
      onError(error);
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(() => void check(), heartbeatMs);
  return { signal: controller.signal, reason: () => reason, stop, check: () => void check(), end: () => clearInterval(timer) };
}
