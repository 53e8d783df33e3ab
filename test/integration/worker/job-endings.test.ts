import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { requestJobCancel } from '#platform/db';
import { Readiness } from '#platform/lifecycle';
import { createRegistry } from '#platform/observability';
import { createJobQueue } from '#platform/queue';
import { startWorker, type Worker } from '../../../services/worker/deps.js';
import { JobWorld } from '../../support/job-world.js';
import { patient } from '../../support/patient.js';

const entry = fileURLToPath(new URL('../../support/programs/engine-stand-in.mjs', import.meta.url));
const attempts: Record<string, unknown>[] = [];
const log = {
  info: (fields: Readonly<Record<string, unknown>>, message: string) => {
    if (message === 'job attempt') attempts.push({ ...fields });
  },
  warn: () => undefined,
};

const registry = createRegistry('worker');
const readiness = new Readiness();
/** The value of the series of this name with this label; 0 while there is none. */
const metric = async (name: string, label: string) => {
  const line = (await registry.metrics()).split('\n').find((each) => each.startsWith(`${name}{`) && each.includes(label));
  return Number(line?.split(' ').at(-1) ?? 0);
};

describe('how a job ends', () => {
  let world: JobWorld;
  let worker: Worker;

  beforeAll(async () => {
    world = await JobWorld.open('postgres', { LATHE_JOB_MEMORY_MB: '400', LATHE_WORKER_CONCURRENCY: '4' });
    worker = await startWorker(world.config, { log, registry, readiness, engine: { entry, execArgv: [] } });
  });
  afterEach(() => world.checkInvariants());
  afterAll(async () => {
    await worker.close();
    await world.close();
  });

  const ended = (id: string, state: string) =>
    vi.waitFor(async () => expect(await world.state(id)).toBe(state), { timeout: 15_000, interval: 25 });
  const starts = async (journal: string) => (await readFile(journal, 'utf8')).trim().split('\n').length;

  it('a job that runs through ends as succeeded with its artifacts, its figures and its progress', async () => {
    const { id } = await world.createJob();
    await ended(id, 'succeeded');
    const artifacts = await world.artifacts(id);
    expect(artifacts.map(({ name, role }) => `${name} ${role}`)).toEqual([
      'model.onnx model',
      'model.onnx.data external_data',
      'report.html report_html',
      'report.json report',
    ]);
    const job = await world.job(id);
    expect(job).toMatchObject({ attempt: 1, error: null, leaseUntil: null, workerId: null, result: { size_ratio: 4 } });
    expect(job.startedAt && job.finishedAt).toBeTruthy();
    const events = await world.events(id);
    expect(events.slice(0, 2)).toEqual(['job.queued', 'job.started']);
    expect(events).toContain('job.progress');
    // The line is written after everything else.
    await vi.waitFor(() => expect(attempts.filter((line) => line.job_id === id)).toHaveLength(1), patient);
    expect(attempts.find((line) => line.job_id === id)).toMatchObject({
      outcome: 'finished',
      decision: 'succeed',
      state: 'succeeded',
      attempt: 1,
    });
  });

  it('is counted by state and code, with its time and its phases, and the process that ran it by how that ended', async () => {
    const series = [
      ['jobs_finished_total', 'state="succeeded",code="none"'],
      ['jobs_finished_total', 'state="failed",code="recipe_invalid"'],
      ['child_exit_total', 'reason="finished"'],
      ['child_exit_total', 'reason="refused"'],
      ['job_phase_seconds_count', 'phase="measure"'],
      ['compression_ratio_bucket', 'le="4"'],
    ] as const;
    const counts = () => Promise.all(series.map(([name, label]) => metric(name, label)));
    const before = await counts();
    const runs = await metric('job_run_seconds_count', 'method="clean-up"');
    await ended((await world.createJob()).id, 'succeeded');
    await ended((await world.createJob({ model: { refuse: 'recipe_invalid' } })).id, 'failed');
    await vi.waitFor(async () => expect(await counts()).toEqual(before.map((count) => count + 1)), patient);
    await vi.waitFor(async () => expect(await metric('job_run_seconds_count', 'method="clean-up"')).toBe(runs + 2), patient);
    expect(await metric('compression_ratio_bucket', 'le="3.5"')).toBe(0);
    expect(await registry.metrics()).not.toMatch(/(tenant|job_id|url)="/);
  });

  it('a worker that has all it needs says so, and shows how much work waits', async () => {
    readiness.state = 'ready';
    expect(await readiness.report()).toEqual({ ready: true, state: 'ready', checks: { database: 'ok', queue: 'ok', storage: 'ok' } });
    await vi.waitFor(async () => expect(await registry.metrics()).toContain('queue_depth{queue="compression.run",state="queued"'), patient);
  });

  it('ten copies of one queue message run the job once', async () => {
    const queue = createJobQueue(world.config);
    const { id, tenantId, journal } = await world.createJob({ model: { ms: 300 } });
    const payload = { job_id: id, tenant_id: tenantId, epoch: 0 };
    await Promise.all(Array.from({ length: 10 }, (_, copy) => queue.enqueue('compression.run', payload, { id: `copy-${id}-${copy}` })));
    await ended(id, 'succeeded');
    await queue.close();
    expect(await starts(journal)).toBe(1);
    expect(await world.artifacts(id)).toHaveLength(4);
  });

  it('an artifact that misses the gate is kept with its report, marked as rejected, and the job fails', async () => {
    const { id } = await world.createJob({ model: { gate: false } });
    await ended(id, 'failed');
    expect((await world.artifacts(id)).map(({ name, role }) => `${name} ${role}`)).toEqual([
      'model.onnx.data external_data',
      'rejected-model.onnx rejected_model',
      'report.html report_html',
      'report.json report',
    ]);
    expect((await world.job(id)).error).toMatchObject({ code: 'quality_gate_failed', details: { missed: [{ check: 'min_speedup' }] } });
  });

  it.each([
    ['model_unsupported', 'model_unsupported'],
    ['no_such_code', 'internal'],
  ])('the engine error %s is the job error %s, without another attempt', async (refuse, code) => {
    const { id, journal } = await world.createJob({ model: { refuse } });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code, message: 'No.', phase: 'decode', details: { why: 'told' } });
    expect(await starts(journal)).toBe(1);
  });

  it.each([
    ['segfault', 'worker_crashed', 'SIGSEGV'],
    ['abort', 'worker_crashed', 'SIGABRT'],
    ['bug', 'internal', null],
  ])('a model that ends the process twice (%s) fails for good as %s', async (die, code, signal) => {
    const { id, journal } = await world.createJob({ model: { die }, maxAttempts: 10 });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code, details: { crashes: 2, signal } });
    expect(await starts(journal)).toBe(2);
    expect(await world.events(id)).toContain('job.requeued');
  });

  it('a process that someone killed once is started again, and the job succeeds as attempt 2', async () => {
    const { id, journal } = await world.createJob({ model: { die: 'kill', times: 1 } });
    await ended(id, 'succeeded');
    expect(await world.job(id)).toMatchObject({ attempt: 2, crashes: 1 });
    expect(await starts(journal)).toBe(2);
  });

  it.each(['grow', 'heap'])('a job that needs too much memory (%s) ends as out_of_memory at once', async (die) => {
    const { id, journal } = await world.createJob({ model: { die } });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code: 'out_of_memory' });
    expect(await starts(journal)).toBe(1);
  });

  it('a JavaScript heap that outgrows its share of the memory ends the job before the whole of the memory is used', async () => {
    const { id } = await world.createJob({ model: { die: 'objects' } });
    await ended(id, 'failed');
    const { error } = await world.job(id);
    expect(error).toMatchObject({ code: 'out_of_memory', details: { limit_bytes: world.config.jobs.memoryBytes } });
    // Only the kernel's figure would be here had the watch on the memory been first.
    expect(error).not.toHaveProperty('details.resident_bytes');
  });

  it.each([{ die: 'spin' }, { ms: 60_000, deaf: true }])('a job that hangs (%o) ends as timeout when its limit is over', async (model) => {
    const { id, journal } = await world.createJob({ model, timeoutSeconds: 1 });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code: 'timeout', details: { limit_seconds: 1 } });
    const pid = Number((await readFile(journal, 'utf8')).split(' ')[0]);
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), patient);
  });

  it.each([{ ms: 60_000 }, { ms: 60_000, deaf: true }, { die: 'spin' }])(
    'a running job (%o) that is canceled stops and ends as canceled',
    async (model) => {
      const { id, tenantId } = await world.createJob({ model });
      await ended(id, 'running');
      const job = await world.database.transaction((tx) => requestJobCancel(tx, { tenantId, jobId: id }));
      expect(job.state).toBe('canceling');
      await ended(id, 'canceled');
      expect(await world.artifacts(id)).toEqual([]);
    },
  );

  it('a job whose model was deleted fails with that said', async () => {
    const { id } = await world.createJob({ modelDeleted: true });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code: 'gone' });
  });

  it('a job whose teacher was deleted fails with that said', async () => {
    const { id } = await world.createJob({ teacherBytes: Buffer.from('a teacher'), teacherDeleted: true });
    await ended(id, 'failed');
    expect((await world.job(id)).error).toMatchObject({ code: 'gone', message: 'The teacher of this job was deleted.' });
  });

  it('a job whose deadline passes before a worker is free expires', async () => {
    const { id, journal } = await world.createJob({ deadlineAt: new Date(Date.now() - 1) });
    await ended(id, 'expired');
    expect((await world.job(id)).error).toMatchObject({ code: 'deadline_exceeded' });
    await expect(starts(journal)).rejects.toThrow(/ENOENT/);
  });
});
