/** The reconciler: looks for work that got lost on the way, and puts it back. Any number of them may run; each repair holds its row. */
import type { JobRepairRepository } from '#platform/db';
import { removeOrphanCheckpoints } from './orphan-checkpoints.js';
import { removeOrphanScratch } from './orphan-scratch.js';

export interface ReconcilerDeps {
  readonly repairs: JobRepairRepository;
  readonly blobs: { sweepStaging(olderThanMs: number): Promise<number> };
  readonly scratchRoot: string;
  readonly checkpointRoot: string;
  readonly intervalMs: number;
  /** After each look; throws when the database does not answer. */
  readonly onLook: () => Promise<void>;
  /** One line when something was repaired. */
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
  readonly onError: (error: unknown) => void;
}

export interface Reconciler {
  close(): Promise<void>;
}

/** An upload that has not been written to for so long is dead. */
const stagingAgeMs = 3_600_000;

/**
 * Looks at once and then at every interval, one look at a time. A look that failed means that the database was away, perhaps for
 * longer than a lease: the next one only waits for it, so that workers who kept on working renew before anyone takes their jobs.
 */
export function startReconciler(deps: ReconcilerDeps): Reconciler {
  let closed = false;
  let outage = false;
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  const look = () => {
    running = (outage ? Promise.resolve() : reconcile(deps))
      .then(deps.onLook)
      .then(
        () => {
          outage = false;
        },
        (error: unknown) => {
          outage = true;
          deps.onError(error);
        },
      )
      .then(() => {
        if (!closed) timer = setTimeout(look, deps.intervalMs);
      });
  };
  look();
  return {
    close: () => {
      closed = true;
      clearTimeout(timer);
      return running;
    },
  };
}

/** One look at everything. */
export async function reconcile(deps: Omit<ReconcilerDeps, 'onLook'>): Promise<void> {
  const { repairs, blobs, scratchRoot, checkpointRoot, intervalMs, log } = deps;
  const silence = { silentMs: intervalMs };
  const found: Record<string, number> = { ...(await repairs.repairJobs(silence)), deliveries: await repairs.repairDeliveries(silence) };
  found.idempotency_keys = await repairs.removeExpiredIdempotencyKeys();
  found.scratch = await removeOrphanScratch(scratchRoot, repairs);
  found.checkpoints = await removeOrphanCheckpoints(checkpointRoot, repairs);
  found.staging = await blobs.sweepStaging(stagingAgeMs);
  const repaired = Object.entries(found).filter(([, count]) => count > 0);
  if (repaired.length > 0) log(Object.fromEntries(repaired));
}
