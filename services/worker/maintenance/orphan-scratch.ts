/** Scratch folders of attempts that nobody runs any more: what a killed worker left on this disk. */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { JobRepairRepository } from '#platform/db';

/** A folder is made after its claim, so one without a held lease has no owner. Returns how many were removed. */
export async function removeOrphanScratch(root: string, repairs: Pick<JobRepairRepository, 'findHeldLeases'>): Promise<number> {
  const names = await readdir(root).catch(() => []);
  const leases = names.flatMap((name) => {
    const match = /^(job_[0-9A-Z]+)-(\d+)$/.exec(name);
    return match?.[1] === undefined ? [] : [{ name, jobId: match[1], epoch: Number(match[2]) }];
  });
  if (leases.length === 0) return 0;
  const held = await repairs.findHeldLeases(leases);
  const orphans = leases.filter(({ name }) => !held.has(name));
  for (const { name } of orphans) await rm(path.join(root, name), { recursive: true, force: true });
  return orphans.length;
}
