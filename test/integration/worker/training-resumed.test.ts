/** A training that is cut off goes on from its checkpoint, and ends at the very weights of one that was not. */
import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { json } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId } from '#contracts';
import { encodeModel } from '#engine';
import { requestJobCancel } from '#platform/db';
import { npzFile } from '../../../services/cli/sample/npz-file.js';
import type { CompressionReport } from '../../../services/engine/pipeline/report.js';
import { classifier } from '../../support/build-model.js';
import { JobWorld } from '../../support/job-world.js';
import { findProcess } from '../../support/process-tree.js';
import { ProgramProcess } from '../../support/program-process.js';

// Processes are started and killed, and each trains: seconds on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const features = 32;
const samples = 512;
const values = Float32Array.from({ length: samples * features }, (_, at) => Math.sin(at * 12.9898) * Math.cos(at * 0.37));
const wish = {
  modelBytes: encodeModel(classifier({ features, hidden: 96 })),
  calibrationBytes: npzFile([{ name: 'x', shape: [samples, features], values }]),
  recipe: {
    objective: 'size',
    steps: [
      { method: 'structured-pruning', budget: { macs: 0.5 } },
      { method: 'distill', epochs: 40, batch_size: 16, learning_rate: 0.003, augmentation: [{ name: 'noise', deviation: 0.05 }] },
      { method: 'static-int8' },
    ],
  },
};

describe('a training that is cut off', () => {
  let world: JobWorld;
  let worker: ProgramProcess;
  /** What a run in one piece comes to. */
  let whole: Result;

  const start = () => ProgramProcess.start('training-worker', world.config);
  const waitFor = (assertion: () => Promise<void>) => vi.waitFor(assertion, { timeout: 90_000, interval: 20 });
  const ended = (id: string, state: string) => waitFor(async () => expect(await world.state(id)).toBe(state));
  const checkpoints = (id: string) => path.join(world.config.dataDir, 'checkpoints', id);
  const isTraining = (id: string) =>
    waitFor(async () => expect(await readdir(checkpoints(id)).catch(() => [])).toContain('distill-2.checkpoint'));

  interface Result {
    readonly model: string;
    readonly report: CompressionReport;
  }
  async function resultOf(id: string): Promise<Result> {
    await ended(id, 'succeeded');
    const artifacts = await world.artifacts(id);
    const report = artifacts.find(({ role }) => role === 'report');
    return {
      model: artifacts.find(({ role }) => role === 'model')?.sha256 ?? '',
      report: (await json(await world.blobs.open(report?.tenantId ?? '', report?.sha256 ?? ''))) as CompressionReport,
    };
  }

  beforeAll(async () => {
    world = await JobWorld.open('postgres', { LATHE_JOB_LEASE_MS: '3000', LATHE_WORKER_CONCURRENCY: '1' });
    worker = await start();
    whole = await resultOf((await world.createJob(wish)).id);
    expect(whole.report.training).toMatchObject([{ method: 'distill', resumed_at: 0, steps: 1280 }]);
  });
  afterEach(() => world.checkInvariants());
  afterAll(async () => {
    await worker.kill();
    await world.close();
  });

  const expectSame = ({ model, report }: Result) => {
    const [training] = report.training;
    expect(training?.resumed_at).toBeGreaterThan(0);
    expect(training?.curve).toEqual(whole.report.training[0]?.curve);
    expect(report.fidelity).toEqual(whole.report.fidelity);
    expect(model).toBe(whole.model);
  };

  it('by kill -9 of the process of the job ends with the same file', async () => {
    const { id } = await world.createJob(wish);
    await isTraining(id);
    process.kill((await findProcess(worker.child.pid ?? 0, 'engine-process')) ?? 0, 'SIGKILL');
    expectSame(await resultOf(id));
    expect(await world.job(id)).toMatchObject({ attempt: 2, crashes: 1 });
  });

  it('by kill -9 of the worker ends with the same file, and leaves no checkpoint', async () => {
    const { id } = await world.createJob(wish);
    await isTraining(id);
    await worker.kill();
    expect(await readdir(checkpoints(id)), 'kept for the next attempt').toContain('distill-2.checkpoint');
    worker = await start();
    expectSame(await resultOf(id));
    expect(await world.job(id)).toMatchObject({ attempt: 2, crashes: 0 });
    await waitFor(async () => expect(await readdir(path.dirname(checkpoints(id)))).toEqual([]));
  });

  it('by cancellation, and by the end of its job while nobody ran it, leaves no checkpoint', async () => {
    const { id } = await world.createJob(wish);
    const forgotten = checkpoints(newId('job'));
    await mkdir(forgotten);
    await isTraining(id);
    await world.database.transaction((tx) => requestJobCancel(tx, { tenantId: world.tenant, jobId: id }));
    await ended(id, 'canceled');
    await waitFor(async () => expect(await readdir(path.dirname(forgotten))).toEqual([]));
  });
});
