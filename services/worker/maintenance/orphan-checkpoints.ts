/** Checkpoints of jobs that have ended: what a worker left that was killed, or whose job ended while nobody ran it. */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { JobRepairRepository } from '#platform/db';

/** A folder is made after the claim of its job, so one whose job will not run again has no owner. Returns how many were removed. */
export async function removeOrphanCheckpoints(root: string, repairs: Pick<JobRepairRepository, 'findUnended'>): Promise<number> {
  const jobIds = (await readdir(root).catch(() => [])).filter((name) => /^job_[0-9A-Z]+$/.test(name));
  if (jobIds.length === 0) return 0;
  const unended = await repairs.findUnended(jobIds);
  const orphans = jobIds.filter((id) => !unended.has(id));
  for (const id of orphans) await rm(path.join(root, id), { recursive: true, force: true });
  return orphans.length;
}
