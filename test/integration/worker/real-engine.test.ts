import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { sampleModel } from '../../../services/cli/sample/sample-model.js';
import { startWorker, type Worker } from '../../../services/worker/deps.js';
import { JobWorld } from '../../support/job-world.js';

describe('the worker with the real engine', () => {
  let world: JobWorld;
  let worker: Worker;
  const trouble: unknown[] = [];

  beforeAll(async () => {
    world = await JobWorld.open('postgres', { LATHE_JOB_LEASE_MS: '20000' });
    worker = await startWorker(world.config, { log: { info: () => undefined, warn: (fields) => trouble.push(fields) } });
  });
  afterAll(async () => {
    await worker.close();
    await world.close();
  });
  const ended = (id: string) =>
    vi.waitFor(async () => expect(['succeeded', 'failed']).toContain(await world.state(id)), { timeout: 25_000, interval: 50 });

  it('compresses a model in a process of its own and keeps model and report', async () => {
    const { id } = await world.createJob({ modelBytes: sampleModel(), recipe: { steps: [{ method: 'dynamic-int8' }] } });
    await ended(id);
    const job = await world.job(id);
    expect(job.error).toBeNull();
    expect(job).toMatchObject({ state: 'succeeded', result: { source: {}, artifact: {}, fidelity: {} } });
    expect((job.result as { size_ratio: number }).size_ratio).toBeGreaterThan(2);
    const artifacts = await world.artifacts(id);
    expect(artifacts.map(({ role }) => role)).toEqual(['model', 'report_html', 'report']);
    const phases = await world.database.db.jobEvent.findMany({ where: { jobId: id, type: 'job.progress' }, orderBy: { sequence: 'asc' } });
    expect(new Set(phases.map(({ data }) => (data as { phase: string }).phase)).size).toBeGreaterThan(1);
    await world.checkInvariants();
    expect(trouble).toEqual([]);
  });

  it('bytes that are no model fail with the code of the engine', async () => {
    const { id } = await world.createJob({ modelBytes: createHash('sha256').update('noise').digest() });
    await ended(id);
    expect(await world.job(id)).toMatchObject({ state: 'failed', attempt: 1, error: { code: 'model_invalid' } });
  });
});
