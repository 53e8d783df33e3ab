/** Cancellation: a queued job ends at once; a running one is asked to, and its worker is told. */
import { AppError, isTerminal, type JobState } from '#contracts';
import type { Db } from './database.js';
import type { Job } from './generated/client.js';
import { notify } from './notification.js';
import { recordJobStateChange } from './record-job-event.js';

/**
 * Returns the job as it is afterwards: `canceled`, or `canceling` while its worker stops. Asking again changes nothing.
 * Throws not_found, or job_already_terminal when the job ended in another way.
 */
export async function requestJobCancel(tx: Db, { tenantId, jobId }: { tenantId: string; jobId: string }): Promise<Job> {
  const [locked] = await tx.$queryRaw<{ state: JobState }[]>`
    SELECT state FROM job WHERE id = ${jobId} AND tenant_id = ${tenantId} FOR UPDATE`;
  if (locked === undefined) throw new AppError('not_found', `No job has id ${jobId}.`);
  const { state } = locked;
  if (state === 'canceling' || state === 'canceled') return tx.job.findUniqueOrThrow({ where: { id: jobId } });
  if (isTerminal(state)) throw new AppError('job_already_terminal', `The job has already ended as ${state}.`);

  const now = new Date();
  const change =
    state === 'queued'
      ? { state: 'canceled', cancelRequestedAt: now, finishedAt: now, phase: null, leaseEpoch: { increment: 1 } }
      : { state: 'canceling', cancelRequestedAt: now };
  const job = await tx.job.update({ where: { id: jobId }, data: { ...change, version: { increment: 1 } } });
  await recordJobStateChange(tx, job);
  if (job.state === 'canceling') await notify(tx, 'jobCancel', jobId);
  return job;
}
