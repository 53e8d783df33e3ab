import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { JobWorld, redisAnswers } from '../../support/job-world.js';
import { patient } from '../../support/patient.js';
import { ProgramProcess } from '../../support/program-process.js';
import { RecordingReceiver } from '../../support/recording-receiver.js';

// Processes are started, killed and found missing: seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });
const redis = await redisAnswers();

/** Each test begins with one worker at work and leaves one: starting a process is what takes the time here. */
describe.each(['postgres', 'redis'] as const)('work that is cut off, with the queue on %s', (backend) => {
  describe.skipIf(backend === 'redis' && !redis)('', () => {
    let world: JobWorld;
    let receiver: RecordingReceiver;
    let worker: ProgramProcess;
    const others: ProgramProcess[] = [];

    beforeAll(async () => {
      receiver = await RecordingReceiver.start();
      world = await JobWorld.open(backend, {
        LATHE_EGRESS_ALLOW: `127.0.0.1:${receiver.port}`,
        LATHE_WEBHOOK_RETRY_SECONDS: '0,0.2,0.2',
        LATHE_JOB_LEASE_MS: '1000',
      });
      worker = await start('worker');
    });
    afterEach(() => world.checkInvariants());
    afterAll(async () => {
      for (const each of [worker, ...others]) await each.kill();
      await world.close();
      await receiver.close();
    });

    const start = (program: 'worker' | 'webhooks') => ProgramProcess.start(program, world.config);
    const waitFor = (assertion: () => Promise<void>) => vi.waitFor(assertion, { timeout: 20_000, interval: 25 });
    const ended = (id: string, state: string) => waitFor(async () => expect(await world.state(id)).toBe(state));
    const enginePids = async (journal: string) => {
      const lines = await readFile(journal, 'utf8').catch(() => '');
      return lines
        .split('\n')
        .filter(Boolean)
        .map((line) => Number(line.split(' ')[0]));
    };
    const startedTimes = (journal: string, times: number) => waitFor(async () => expect(await enginePids(journal)).toHaveLength(times));
    const gone = (pid: number) => vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), patient);

    it('kill -9 of the process of the job: it runs once more and succeeds as attempt 2', async () => {
      const { id, journal } = await world.createJob({ model: { ms: 400 } });
      await startedTimes(journal, 1);
      process.kill((await enginePids(journal))[0] ?? 0, 'SIGKILL');
      await ended(id, 'succeeded');
      expect(await world.job(id)).toMatchObject({ attempt: 2, crashes: 1 });
      expect(await world.artifacts(id)).toHaveLength(4);
    });

    it('kill -9 of the worker: its job process dies with it, and another worker finishes the job', async () => {
      const { id, journal } = await world.createJob({ model: { ms: 500 } });
      await startedTimes(journal, 1);
      await worker.kill();
      await gone((await enginePids(journal))[0] ?? 0);
      worker = await start('worker');
      await ended(id, 'succeeded');
      expect(await world.job(id)).toMatchObject({ attempt: 2, crashes: 0 });
      expect(await world.artifacts(id)).toHaveLength(4);
    });

    it('kill -9 of everything: after the restart the job succeeds once, and its webhook arrives signed', async () => {
      const sender = await start('webhooks');
      const { id, journal } = await world.createJob({ model: { ms: 500 }, webhookUrl: receiver.url('/everything') });
      await startedTimes(journal, 1);
      await Promise.all([worker.kill(), sender.kill()]);
      const [nextWorker, nextSender] = await Promise.all([start('worker'), start('webhooks')]);
      worker = nextWorker;
      others.push(nextSender);
      await ended(id, 'succeeded');
      await waitFor(async () => {
        const deliveries = await world.database.db.webhookDelivery.findMany({ where: { url: receiver.url('/everything') } });
        expect(deliveries.map(({ state }) => state)).toEqual(['succeeded']);
      });
      const secret = (await world.database.db.tenant.findUniqueOrThrow({ where: { id: world.tenant } })).webhookSecret;
      const [request] = receiver.requests('/everything');
      expect(receiver.verify(request, secret)).toMatchObject({
        type: 'job.succeeded',
        data: { job_id: id, state: 'succeeded', attempt: 2 },
      });
    });

    it('a job whose queue entry was lost is found and run', async () => {
      const { id } = await world.createJob({ entryLost: true });
      await ended(id, 'succeeded');
      expect(await world.artifacts(id)).toHaveLength(4);
    });

    // What follows is between workers and the database: the queue plays no part in it.
    it.skipIf(backend === 'redis')('a worker frozen until another finished its job can write nothing when it wakes', async () => {
      const { id, journal } = await world.createJob({ model: { ms: 600 } });
      await startedTimes(journal, 1);
      const frozen = worker;
      frozen.signal('SIGSTOP');
      worker = await start('worker');
      await ended(id, 'succeeded');
      const before = { job: await world.job(id), artifacts: await world.artifacts(id) };
      expect(before.job.attempt).toBe(2);
      frozen.signal('SIGCONT');
      // It is over its job when it has closed in order.
      await frozen.kill('SIGTERM');
      expect({ job: await world.job(id), artifacts: await world.artifacts(id) }).toEqual(before);
    });

    it.skipIf(backend === 'redis')('SIGTERM: the job goes back without losing an attempt, and the next worker runs it', async () => {
      const { id, journal } = await world.createJob({ model: { ms: 2_000 } });
      await startedTimes(journal, 1);
      await worker.kill('SIGTERM');
      expect(await world.job(id)).toMatchObject({ state: 'queued', attempt: 0 });
      worker = await start('worker');
      await ended(id, 'succeeded');
      expect(await world.job(id)).toMatchObject({ attempt: 1, crashes: 0 });
    });

    it.skipIf(backend === 'redis')('a job that takes every worker with it is given up after its attempts', async () => {
      const { id, journal } = await world.createJob({ model: { ms: 60_000 }, maxAttempts: 2 });
      for (const times of [1, 2]) {
        await startedTimes(journal, times);
        const next = start('worker');
        await worker.kill();
        worker = await next;
      }
      await ended(id, 'failed');
      expect((await world.job(id)).error).toMatchObject({ code: 'worker_crashed', details: { attempts: 2 } });
    });
  });
});
