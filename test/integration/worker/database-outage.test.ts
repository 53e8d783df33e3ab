import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startWorker, type Worker } from '../../../services/worker/deps.js';
import { FaultProxy } from '../../support/fault-proxy.js';
import { JobWorld } from '../../support/job-world.js';
import { patient } from '../../support/patient.js';

const entry = fileURLToPath(new URL('../../support/programs/engine-stand-in.mjs', import.meta.url));

describe('a database that goes away while a job runs', () => {
  let world: JobWorld;
  let proxy: FaultProxy;
  let worker: Worker;

  beforeAll(async () => {
    world = await JobWorld.open();
    const url = new URL(world.config.databaseUrl);
    proxy = await FaultProxy.start(url.hostname, Number(url.port || 5432));
    url.hostname = '127.0.0.1';
    url.port = String(proxy.port);
    const config = { ...world.config, databaseUrl: url.href };
    worker = await startWorker(config, { log: { info: () => undefined, warn: () => undefined }, engine: { entry, execArgv: [] } });
  });
  afterAll(async () => {
    await worker.close();
    await proxy.close();
    await world.close();
  });

  it('the work is not thrown away, the job ends once, and the worker takes the next one', async () => {
    const first = await world.createJob({ model: { ms: 300 } });
    await vi.waitFor(async () => expect(await world.state(first.id)).toBe('running'), { timeout: 10_000, interval: 10 });
    await proxy.cut();
    // The engine is done by now, and nothing could be written: the row still says that it runs.
    await vi.waitFor(async () => expect((await world.job(first.id)).leaseUntil?.getTime()).toBeLessThan(Date.now()), patient);
    expect(await world.state(first.id)).toBe('running');
    await proxy.heal();
    const second = await world.createJob();
    for (const { id } of [first, second]) {
      await vi.waitFor(async () => expect(await world.state(id)).toBe('succeeded'), { timeout: 20_000, interval: 50 });
    }
    await world.checkInvariants();
  });
});
