/** Jobs as their owners see them: create, list, read, cancel, events. Claiming and finishing is job-lease-repository.ts. */
import { AppError, type JobState } from '#contracts';
import { requestJobCancel } from './cancel-job.js';
import type { Database } from './database.js';
import type { Job, JobEvent } from './generated/client.js';
import { claimIdempotencyKey, type IdempotentRequest, type StoredAnswer } from './idempotency-repository.js';
import { insertJob, type NewJob, newJobRow } from './insert-job.js';
import { afterPosition, newestFirst, type Page, type PageRequest, toPage } from './page.js';

export type JobRecord = Omit<Job, 'state'> & { readonly state: JobState };
export type JobEventRecord = JobEvent;

export interface JobFilter {
  readonly state?: JobState;
  readonly modelId?: string;
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
}

export interface JobCreation {
  readonly job: NewJob;
  /** With an Idempotency-Key: what to remember, and the answer to remember for it. */
  readonly idempotency?: IdempotentRequest & { readonly answer: StoredAnswer };
}

/** What changes whenever a job or its events change. */
export interface JobRevision {
  readonly tenantId: string;
  readonly id: string;
  readonly version: number;
  readonly eventSequence: number;
}

export interface JobRepository {
  /** The row that `create` will write, for an answer that is stored together with it. */
  newRow(tenantId: string, job: NewJob): JobRecord;
  /** The earlier answer when the idempotency key was used before, else null. Throws not_found when model or data are missing. */
  create(tenantId: string, creation: JobCreation): Promise<StoredAnswer | null>;
  find(tenantId: string, id: string): Promise<JobRecord | null>;
  list(tenantId: string, request: PageRequest & { readonly filter: JobFilter }): Promise<Page<JobRecord>>;
  /** Throws not_found or job_already_terminal. */
  cancel(tenantId: string, id: string): Promise<JobRecord>;
  events(tenantId: string, jobId: string, range: { readonly after: number; readonly limit: number }): Promise<readonly JobEventRecord[]>;
  artifactCount(tenantId: string, jobId: string): Promise<number>;
  countArtifacts(tenantId: string, jobIds: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** For the watcher of open requests: one query whatever their number. */
  revisions(tenantId: string, ids: readonly string[]): Promise<readonly JobRevision[]>;
}

const missing = () => new AppError('not_found', 'A model or a data set of this job does not exist.');
const withState = (job: Job) => job as JobRecord;

export function jobRepository(database: Database): JobRepository {
  const { db } = database;
  return {
    newRow: (tenantId, job) => withState(newJobRow(tenantId, job)),
    create: async (tenantId, { job, idempotency }) => {
      if (idempotency === undefined) {
        const outcome = await insertJob(db, tenantId, { ...job, unlessSubscribed: true });
        if (outcome === 'created') return null;
        if (outcome === 'missing') throw missing();
      }
      return database.transaction(async (tx) => {
        const earlier = idempotency === undefined ? null : await claimIdempotencyKey(tx, tenantId, idempotency);
        if (earlier !== null) return earlier;
        if ((await insertJob(tx, tenantId, job)) !== 'created') throw missing();
        return null;
      });
    },
    find: async (tenantId, id) => {
      const row = await db.job.findFirst({ where: { tenantId, id } });
      return row === null ? null : withState(row);
    },
    list: async (tenantId, { limit, after, filter }) => {
      const createdAt = {
        ...(filter.createdAfter === undefined ? {} : { gte: filter.createdAfter }),
        ...(filter.createdBefore === undefined ? {} : { lt: filter.createdBefore }),
      };
      const where = {
        tenantId,
        ...(filter.state === undefined ? {} : { state: filter.state }),
        ...(filter.modelId === undefined ? {} : { modelId: filter.modelId }),
        createdAt,
        ...afterPosition(after),
      };
      return toPage((await db.job.findMany({ where, orderBy: newestFirst, take: limit + 1 })).map(withState), limit);
    },
    cancel: async (tenantId, id) => withState(await database.transaction((tx) => requestJobCancel(tx, { tenantId, jobId: id }))),
    events: (tenantId, jobId, { after, limit }) =>
      db.jobEvent.findMany({ where: { tenantId, jobId, sequence: { gt: after } }, orderBy: { sequence: 'asc' }, take: limit }),
    artifactCount: (tenantId, jobId) => db.artifact.count({ where: { tenantId, jobId } }),
    countArtifacts: async (tenantId, jobIds) => {
      if (jobIds.length === 0) return new Map();
      const groups = await db.artifact.groupBy({ by: ['jobId'], where: { tenantId, jobId: { in: [...jobIds] } }, _count: true });
      return new Map(groups.map((group) => [group.jobId, group._count]));
    },
    revisions: (tenantId, ids) =>
      db.job.findMany({
        where: { tenantId, id: { in: [...ids] } },
        select: { tenantId: true, id: true, version: true, eventSequence: true },
      }),
  };
}
