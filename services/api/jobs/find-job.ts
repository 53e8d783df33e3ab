/** A job of this tenant, or 404: another tenant's id is no different from one that never was. */
import { AppError } from '#contracts';
import type { ApiDeps, JobRecord } from '../deps.js';

export async function findJob({ jobs }: Pick<ApiDeps, 'jobs'>, tenantId: string, id: string): Promise<JobRecord> {
  const job = await jobs.find(tenantId, id);
  if (job === null) throw new AppError('not_found', `No job has id ${id}.`);
  return job;
}
