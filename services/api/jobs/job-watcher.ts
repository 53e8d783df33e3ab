/** Wakes requests that wait for a job: by Postgres notifications, and by one look per second for all of them together. */
import type { JobRevision } from '#platform/db';

export interface JobWatcherDeps {
  revisions(tenantId: string, ids: readonly string[]): Promise<readonly JobRevision[]>;
  onError(error: unknown): void;
}

interface Watch {
  readonly tenantId: string;
  readonly jobId: string;
  readonly seen: string;
  wake(): void;
}

const pollMs = 1_000;

export interface WaitOptions {
  /** revisionOf the job as the caller has read it. */
  readonly seen: string;
  readonly ms: number;
  readonly signal: AbortSignal;
}

/** Changes with every change of the job or its events. */
export const revisionOf = (job: { readonly version: number; readonly eventSequence: number }): string =>
  `${job.version}-${job.eventSequence}`;

export interface JobWatcher {
  /** Resolves when the job is no longer as the caller saw it, after `ms`, or when `signal` aborts; whichever is first. */
  changed(tenantId: string, jobId: string, options: WaitOptions): Promise<void>;
  /** A notification came: this job has changed. */
  notify(jobId: string): void;
  /** After close(): whoever waits in a loop stops. */
  readonly closed: boolean;
  /** Wakes everyone; further waits end at once. */
  close(): void;
}

export function createJobWatcher({ revisions, onError }: JobWatcherDeps): JobWatcher {
  const watches = new Set<Watch>();
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  async function look(): Promise<void> {
    const byTenant = new Map<string, Watch[]>();
    for (const watch of watches) byTenant.set(watch.tenantId, [...(byTenant.get(watch.tenantId) ?? []), watch]);
    for (const [tenantId, list] of byTenant) {
      const rows = await revisions(tenantId, [...new Set(list.map((watch) => watch.jobId))]);
      const current = new Map(rows.map((row) => [row.id, revisionOf(row)]));
      for (const watch of list) if (current.get(watch.jobId) !== watch.seen) watch.wake();
    }
  }
  function schedule(): void {
    if (timer !== undefined || watches.size === 0) return;
    timer = setTimeout(() => {
      timer = undefined;
      look().catch(onError).finally(schedule);
    }, pollMs);
  }

  return {
    get closed() {
      return closed;
    },
    changed: (tenantId, jobId, { seen, ms, signal }) =>
      new Promise((resolve) => {
        if (signal.aborted || closed) return resolve();
        const timeout = setTimeout(() => watch.wake(), ms);
        const wake = () => {
          clearTimeout(timeout);
          watches.delete(watch);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        const watch: Watch = { tenantId, jobId, seen, wake };
        signal.addEventListener('abort', wake);
        watches.add(watch);
        schedule();
      }),
    notify: (jobId) => {
      for (const watch of [...watches]) if (watch.jobId === jobId) watch.wake();
    },
    close: () => {
      closed = true;
      clearTimeout(timer);
      for (const watch of [...watches]) watch.wake();
    },
  };
}
