import { createHash } from 'node:crypto';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeModel } from '#engine';
import { npzFile } from '../../../services/cli/sample/npz-file.js';
import { sampleModel } from '../../../services/cli/sample/sample-model.js';
import { drawSamples, sampleTask } from '../../../services/cli/sample/sample-task.js';
import type { CompressionReport } from '../../../services/engine/pipeline/report.js';
import { startWorker, type Worker } from '../../../services/worker/deps.js';
import { classifier } from '../../support/build-model.js';
import { builtService } from '../../support/built-service.js';
import { JobWorld } from '../../support/job-world.js';

describe('the worker with the real engine', () => {
  let world: JobWorld;
  let worker: Worker;
  const trouble: unknown[] = [];

  beforeAll(async () => {
    world = await JobWorld.open('postgres', { LATHE_JOB_LEASE_MS: '20000' });
    const engine = { entry: await builtService('worker/compression/engine-process.js'), execArgv: [] };
    worker = await startWorker(world.config, { log: { info: () => undefined, warn: (fields) => trouble.push(fields) }, engine });
    // A database, and the service is compiled when it has changed.
  }, 240_000);
  afterAll(async () => {
    await worker.close();
    await world.close();
  });
  const ended = (id: string) =>
    vi.waitFor(async () => expect(['succeeded', 'failed']).toContain(await world.state(id)), { timeout: 60_000, interval: 50 });

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

  it('ranges of a model and data set are found once: the next job with both takes them from the cache of the worker', async () => {
    const { features, count } = drawSamples(32, sampleTask.seed + 9);
    const calibrationBytes = npzFile([{ name: 'features', shape: [count, sampleTask.features], values: features }]);
    const wish = { modelBytes: sampleModel(), calibrationBytes, recipe: { objective: 'size', steps: [{ method: 'static-int8' }] } };
    const seen: unknown[] = [];
    for (const _ of ['first', 'second']) {
      const { id } = await world.createJob(wish);
      await ended(id);
      expect((await world.job(id)).error).toBeNull();
      const report = (await world.artifacts(id)).find(({ role }) => role === 'report');
      const { calibration } = (await json(await world.blobs.open(report?.tenantId ?? '', report?.sha256 ?? ''))) as {
        calibration: { from_cache: boolean };
      };
      seen.push(calibration.from_cache);
    }
    expect(seen).toEqual([false, true]);
    // Two processes that load the engine.
  }, 180_000);

  it('a job learns from the teacher that it brings', async () => {
    const features = 16;
    const values = Float32Array.from({ length: 256 * features }, (_, at) => Math.sin(at * 12.9898));
    const { id } = await world.createJob({
      modelBytes: encodeModel(classifier({ features, hidden: 8 })),
      teacherBytes: encodeModel(classifier({ features, hidden: 64 })),
      calibrationBytes: npzFile([{ name: 'x', shape: [256, features], values }]),
      recipe: { objective: 'size', steps: [{ method: 'distill', teacher: 'given', epochs: 20, batch_size: 16, learning_rate: 0.01 }] },
    });
    await ended(id);
    expect((await world.job(id)).error).toBeNull();
    const report = (await world.artifacts(id)).find(({ role }) => role === 'report');
    const { training } = (await json(await world.blobs.open(report?.tenantId ?? '', report?.sha256 ?? ''))) as CompressionReport;
    expect(training).toMatchObject([{ method: 'distill', losses: ['teacher-values'], steps: 320 }]);
    // The model itself as a teacher would leave nothing to learn.
    const losses = training[0]?.curve.map(({ loss }) => loss) ?? [];
    expect(losses[0]).toBeGreaterThan(0.5);
    expect(losses.at(-1)).toBeLessThan((losses[0] ?? 0) / 3);
    await world.checkInvariants();
    // Two processes that load the engine.
  }, 180_000);

  it('bytes that are no model fail with the code of the engine', async () => {
    const { id } = await world.createJob({ modelBytes: createHash('sha256').update('noise').digest() });
    await ended(id);
    expect(await world.job(id)).toMatchObject({ state: 'failed', attempt: 1, error: { code: 'model_invalid' } });
  });
});
