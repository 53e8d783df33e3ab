import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { parseConfig } from '#platform/config';
import { type ReconcilerDeps, startReconciler } from '../../../services/worker/maintenance/reconcile.js';
import { patient } from '../../support/patient.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('after a database outage the leases of workers that kept on working are renewed before lapsed ones are looked for', async () => {
  const { heartbeatMs, reconcileIntervalMs: intervalMs } = parseConfig({}, '/').jobs;
  let away = false;
  const moments: string[] = [];
  const answer = async (what: string) => {
    if (away) throw new Error('ECONNREFUSED');
    moments.push(what);
  };
  const none = { requeued: 0, failed: 0, canceled: 0, expired: 0, awakened: 0 };
  const repairs: ReconcilerDeps['repairs'] = {
    repairJobs: async () => {
      await answer('repair');
      return none;
    },
    repairDeliveries: async () => 0,
    removeExpiredIdempotencyKeys: async () => 0,
    findHeldLeases: async () => new Set(),
    findUnended: async () => new Set(),
  };
  const errors: unknown[] = [];
  const reconciler = startReconciler({
    repairs,
    blobs: { sweepStaging: async () => 0 },
    scratchRoot: '/nowhere',
    checkpointRoot: '/nowhere',
    intervalMs,
    onLook: () => answer('look'),
    log: () => undefined,
    onError: (error) => errors.push(error),
  });
  await vi.waitFor(() => expect(moments).toEqual(['repair', 'look']), patient);
  away = true;
  await vi.advanceTimersByTimeAsync(intervalMs);
  await vi.waitFor(() => expect(errors).toHaveLength(1), patient);
  // Back just before the next look: a worker that is due then has not been there yet.
  away = false;
  moments.length = 0;
  const heartbeat = setInterval(() => moments.push('renewal'), heartbeatMs);
  await vi.advanceTimersByTimeAsync(intervalMs * 2 + heartbeatMs);
  await vi.waitFor(() => expect(moments).toContain('repair'), patient);
  expect(moments.slice(0, moments.indexOf('repair'))).toEqual(expect.arrayContaining(['look', 'renewal']));
  clearInterval(heartbeat);
  await reconciler.close();
});

it('with the defaults, a job whose worker was killed is taken over within 30 seconds, and a lease survives two lost heartbeats', () => {
  const { leaseMs, heartbeatMs, reconcileIntervalMs } = parseConfig({}, '/').jobs;
  expect(leaseMs + reconcileIntervalMs).toBeLessThanOrEqual(30_000);
  expect(heartbeatMs * 3).toBeLessThanOrEqual(leaseMs);
  expect(reconcileIntervalMs).toBeGreaterThan(heartbeatMs);
});
