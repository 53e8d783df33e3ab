import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AppError, canMove, type JobState } from '#contracts';
import {
  type ClaimedJob,
  type JobLeaseRepository,
  type JobRepairRepository,
  jobLeaseRepository,
  jobRepairRepository,
  requestJobCancel,
} from '#platform/db';
import { JobWorld } from '../../support/job-world.js';

/** The reference: a job as it should be, in a dozen lines. */
interface Model {
  state: JobState;
  attempt: number;
  maxAttempts: number;
  crashes: number;
  /** Whose claim is valid: index of the claim, or null. */
  holder: number | null;
  claims: number;
  terminalEvents: number;
}

interface Real {
  readonly jobId: string;
  readonly tenantId: string;
  readonly claims: ClaimedJob[];
  lastState: JobState;
}

describe('the state machine of a job', () => {
  let world: JobWorld;
  let leases: JobLeaseRepository;
  let repairs: JobRepairRepository;
  beforeAll(async () => {
    world = await JobWorld.open();
    leases = jobLeaseRepository(world.database, { workerId: 'test', leaseMs: 60_000 });
    repairs = jobRepairRepository(world.database);
  });
  afterAll(() => world.close());

  const over = (state: JobState) => ['succeeded', 'failed', 'canceled', 'expired'].includes(state);

  class Step implements fc.AsyncCommand<Model, Real> {
    constructor(
      private readonly name: string,
      private readonly act: (model: Model, real: Real) => Promise<void>,
    ) {}
    check = () => true;
    async run(model: Model, real: Real): Promise<void> {
      const before = model.state;
      await this.act(model, real);
      if (!over(before) && over(model.state)) model.terminalEvents += 1;
      const job = await world.job(real.jobId);
      const { state, attempt, crashes } = model;
      expect(job, this.toString()).toMatchObject({ state, attempt, crashes });
      if (job.state !== real.lastState)
        expect(canMove(real.lastState, job.state as JobState), `${real.lastState} -> ${job.state}`).toBe(true);
      real.lastState = job.state as JobState;
      expect(job.leaseUntil === null).toBe(!['running', 'canceling'].includes(state));
      const types = await world.events(real.jobId);
      expect(types.filter((type) => /\.(succeeded|failed|canceled|expired)$/.test(type))).toHaveLength(model.terminalEvents);
    }
    toString = () => this.name;
  }

  const claim = new Step('claim', async (model, real) => {
    const claimed = await leases.claim({ tenantId: real.tenantId, jobId: real.jobId });
    expect(claimed !== null).toBe(model.state === 'queued');
    if (claimed === null) return;
    real.claims.push(claimed);
    Object.assign(model, { state: 'running', attempt: model.attempt + 1, holder: model.claims, claims: model.claims + 1 });
  });
  /** By any claim there ever was: old ones are zombies and must be refused. */
  const byClaim = (name: string, which: number, act: (claimed: ClaimedJob, model: Model, holds: boolean) => Promise<void>) =>
    new Step(`${name} by claim ${which}`, async (model, real) => {
      const index = real.claims.length === 0 ? -1 : which % real.claims.length;
      const claimed = real.claims[index];
      if (claimed !== undefined) await act(claimed, model, model.holder === index);
    });
  const finish = (state: 'succeeded' | 'failed', which: number) =>
    byClaim(`finish as ${state}`, which, async (claimed, model, holds) => {
      const error = { code: 'internal', message: 'no', phase: null, retryable: true, details: {} };
      const ended = await leases.finish(claimed, { state, result: null, error: state === 'failed' ? error : null, artifacts: [] });
      const expected = model.state === 'canceling' && state === 'succeeded' ? 'canceled' : state;
      expect(ended).toBe(holds ? expected : null);
      if (holds) Object.assign(model, { state: expected, holder: null });
    });
  const giveBack = (countsAttempt: boolean, crashed: boolean, which: number) =>
    byClaim(`requeue (counts ${countsAttempt}, crashed ${crashed})`, which, async (claimed, model, holds) => {
      const result = await leases.requeue(claimed, { reason: 'test', countsAttempt, crashed, delayMs: 0 });
      if (!holds) return expect(result).toBeNull();
      if (model.state === 'canceling') {
        expect(result).toBe('canceled');
        Object.assign(model, { state: 'canceled', holder: null });
        return;
      }
      expect(result).toBe('queued');
      const attempt = model.attempt - (countsAttempt ? 0 : 1);
      Object.assign(model, { state: 'queued', holder: null, attempt, crashes: model.crashes + (crashed ? 1 : 0) });
    });
  const renew = (which: number) =>
    byClaim('renew', which, async (claimed, model, holds) => {
      expect(await leases.renew(claimed)).toBe(holds ? (model.state === 'canceling' ? 'cancel_requested' : 'held') : 'lost');
    });
  const progress = (which: number) =>
    byClaim('progress', which, async (claimed, model, holds) => {
      const written = await leases.recordProgress(claimed, 'measure', { fraction: 0.5, message: 'half', eta_seconds: null });
      expect(written).toBe(holds && model.state === 'running');
    });
  const cancel = new Step('cancel', async (model, { tenantId, jobId }) => {
    const asked = world.database.transaction((tx) => requestJobCancel(tx, { tenantId, jobId }));
    if (['succeeded', 'failed', 'expired'].includes(model.state)) return expect(asked).rejects.toThrow(AppError);
    await asked;
    if (model.state === 'queued') model.state = 'canceled';
    if (model.state === 'running') model.state = 'canceling';
  });
  const lapse = new Step('the lease lapses', async (model, { jobId }) => {
    await world.database.db.job.updateMany({ where: { id: jobId, leaseUntil: { not: null } }, data: { leaseUntil: new Date(0) } });
    await Promise.all([repairs.repairJobs({ silentMs: 1e9 }), repairs.repairJobs({ silentMs: 1e9 })]);
    if (model.state === 'canceling') Object.assign(model, { state: 'canceled', holder: null });
    if (model.state === 'running') Object.assign(model, { state: model.attempt >= model.maxAttempts ? 'failed' : 'queued', holder: null });
  });
  const deadline = new Step('the deadline passes', async (model, { jobId }) => {
    await world.database.db.job.update({ where: { id: jobId }, data: { deadlineAt: new Date(0) } });
    await Promise.all([repairs.repairJobs({ silentMs: 1e9 }), repairs.repairJobs({ silentMs: 1e9 })]);
    await world.database.db.job.update({ where: { id: jobId }, data: { deadlineAt: null } });
    if (model.state === 'queued') model.state = 'expired';
  });
  const which = fc.nat({ max: 2 });
  const claims = [fc.constant(claim), fc.constant(claim), fc.constant(claim)];
  const givesBack = fc.tuple(fc.boolean(), fc.boolean(), which).map(([counts, crashed, n]) => giveBack(counts || crashed, crashed, n));
  // Mostly what leaves the job alive: a zombie can only be met after a second claim.
  const commands = fc.commands(
    [
      ...claims,
      ...claims,
      givesBack,
      givesBack,
      givesBack,
      fc.constant(lapse),
      which.map((n) => finish('succeeded', n)),
      which.map((n) => finish('failed', n)),
      which.map(renew),
      which.map(progress),
      fc.constant(cancel),
      fc.constant(deadline),
    ],
    { maxCommands: 24, size: 'max' },
  );

  it('follows the reference whatever happens in whatever order: no zombie writes, one terminal event, legal moves only', async () => {
    await fc.assert(
      fc.asyncProperty(commands, async (steps) => {
        const { id: jobId, tenantId } = await world.createJob({ maxAttempts: 3 });
        const model: Model = { state: 'queued', attempt: 0, maxAttempts: 3, crashes: 0, holder: null, claims: 0, terminalEvents: 0 };
        await fc.asyncModelRun(() => ({ model, real: { jobId, tenantId, claims: [], lastState: 'queued' as JobState } }), steps);
        await world.database.db.job.deleteMany({ where: { id: jobId } });
      }),
      { numRuns: 30 },
    );
  }, 60_000);
});
