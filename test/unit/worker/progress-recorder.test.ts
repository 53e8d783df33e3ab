/** Progress of a job: news at once, and no more rows in the database than a person can read. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { JobProgress } from '#contracts';
import { createProgressRecorder } from '../../../services/worker/compression/progress-recorder.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function recorder() {
  const written: (JobProgress & { phase: string; at: number })[] = [];
  const started = performance.now();
  const recordProgress = async (_lease: unknown, phase: string, progress: JobProgress) => {
    written.push({ ...progress, phase, at: (performance.now() - started) / 1000 });
    return true;
  };
  const lease = { tenantId: 'ten_1', jobId: 'job_1', epoch: 1 };
  const ignored = () => undefined;
  return {
    written,
    ...createProgressRecorder({ leases: { recordProgress }, lease, intervalMs: 1000, onPhaseEnded: ignored, onError: ignored }),
  };
}

describe('progress of a training', () => {
  it('of ten hours with two loss lines a second writes a few hundred events an hour at first, and two a minute later', async () => {
    const { record, written, settled } = recorder();
    record({ phase: 'decode', fraction: 0, message: 'reading', etaSeconds: null });
    const seconds = 36_000;
    for (let second = 0; second <= seconds; second++) {
      const message = `epoch 1 of 3: loss ${(1 / (second + 1)).toFixed(6)}, 312 steps/s`;
      for (const half of [0, 0.5]) record({ phase: 'distill', fraction: (second + half) / seconds, message, etaSeconds: seconds - second });
      await vi.advanceTimersByTimeAsync(1000);
    }
    await settled();
    expect(written.length).toBeLessThan(1700);
    const seen = written.filter(({ phase }) => phase === 'distill').map(({ at }) => at);
    const gaps = seen.slice(1).map((at, index) => at - (seen[index] ?? 0));
    expect(Math.max(...gaps), 'never silent for longer than half a minute').toBeLessThanOrEqual(31);
    expect(
      gaps.slice(0, 50).every((gap) => gap <= 2.1),
      'every second in the first minute',
    ).toBe(true);
  });

  it('a new phase is written at once, whatever was written just before', async () => {
    const { record, written, settled } = recorder();
    for (const phase of ['decode', 'distill', 'verify']) {
      record({ phase, fraction: 0.5, message: phase, etaSeconds: null });
      await vi.advanceTimersByTimeAsync(1);
    }
    await settled();
    expect(written.map(({ phase }) => phase)).toEqual(['decode', 'distill', 'verify']);
  });
});
