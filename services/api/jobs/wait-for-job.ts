/** Holding an answer back until the job is as the client wants it: behind `Prefer: wait`. */
import type { JobRecord } from '../deps.js';
import { type JobWatcher, revisionOf } from './job-watcher.js';

export interface JobWaitDeps {
  readonly jobs: { find(tenantId: string, id: string): Promise<JobRecord | null> };
  readonly watcher: JobWatcher;
}

export interface JobWait {
  readonly tenantId: string;
  readonly seconds: number;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  done(job: JobRecord): boolean;
}

/** The job as soon as `done` holds, or as it is when the time is over. Null when it is no longer there. */
export async function waitForJob(first: JobRecord, { jobs, watcher }: JobWaitDeps, wait: JobWait): Promise<JobRecord | null> {
  const until = Date.now() + wait.seconds * 1_000;
  let job: JobRecord | null = first;
  while (job !== null && !wait.done(job)) {
    const ms = until - Date.now();
    if (ms <= 0 || wait.signal.aborted) break;
    await watcher.changed(wait.tenantId, job.id, { seen: revisionOf(job), ms, signal: wait.signal });
    job = await jobs.find(wait.tenantId, job.id);
    if (watcher.closed) break;
  }
  return job;
}
