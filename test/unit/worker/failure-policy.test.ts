import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isErrorCode } from '#contracts';
import { classifyExit } from '../../../services/worker/compression/engine-outcome.js';
import { type AttemptOutcome, decideAttempt } from '../../../services/worker/compression/failure-policy.js';

const first = { attempt: 1, maxAttempts: 3, crashes: 0, phase: 'measure' };
const crash = (signal: string | null, exitCode: number | null = null): AttemptOutcome => ({
  kind: 'crashed',
  signal,
  exitCode,
  stderrTail: '',
});

const outcomes: fc.Arbitrary<AttemptOutcome> = fc.oneof(
  fc.record({
    kind: fc.constant('finished' as const),
    gatePassed: fc.boolean(),
    modelFiles: fc.constant(['model.onnx']),
    reportPath: fc.constant('report.json'),
    htmlReportPath: fc.constant('report.html'),
    missed: fc.constant([]),
  }),
  fc.record({ kind: fc.constant('refused' as const), code: fc.string(), message: fc.string(), details: fc.constant({}) }),
  fc.record({
    kind: fc.constant('crashed' as const),
    signal: fc.constantFrom('SIGSEGV', 'SIGKILL', 'SIGABRT', null),
    exitCode: fc.constantFrom(1, 70, 137, 139, null),
    stderrTail: fc.string(),
  }),
  fc.constant({ kind: 'out_of_memory' as const, limitBytes: 1e9, residentBytes: null, stderrTail: '' }),
  fc.constant({ kind: 'timed_out' as const, limitMs: 1000 }),
  fc.record({
    kind: fc.constant('stopped' as const),
    reason: fc.constantFrom('canceled' as const, 'shutdown' as const, 'lease_lost' as const),
  }),
  fc.constant({ kind: 'infrastructure_failed' as const, cause: new Error('disk') }),
  fc.constant({ kind: 'input_missing' as const, message: 'gone' }),
);

describe('what follows from an attempt', () => {
  it('no job is retried for ever: an attempt that counts is never followed by one beyond the maximum, nor a second crash by a third', () => {
    const history = fc.record({
      attempt: fc.integer({ min: 1, max: 5 }),
      maxAttempts: fc.integer({ min: 1, max: 5 }),
      crashes: fc.integer({ min: 0, max: 3 }),
      phase: fc.constant(null),
    });
    fc.assert(
      fc.property(outcomes, history, (outcome, past) => {
        const decision = decideAttempt(outcome, past);
        if (decision.kind === 'retry' && decision.countsAttempt) {
          expect(past.attempt).toBeLessThan(past.maxAttempts);
          if (decision.crashed) expect(past.crashes).toBe(0);
        }
        if (decision.kind === 'fail') expect(isErrorCode(decision.error.code)).toBe(true);
        if (decision.kind === 'succeed') expect(outcome).toMatchObject({ kind: 'finished', gatePassed: true });
      }),
    );
  });

  it.each([
    ['SIGSEGV', null, 'worker_crashed', 'SIGSEGV'],
    ['SIGABRT', null, 'worker_crashed', 'SIGABRT'],
    [null, 139, 'worker_crashed', 'SIGSEGV'],
    [null, 134, 'worker_crashed', 'SIGABRT'],
    [null, 70, 'internal', null],
  ])('a death by signal %s, exit code %s, is tried once more and then fails as %s', (signal, exitCode, code, named) => {
    expect(decideAttempt(crash(signal, exitCode), first)).toMatchObject({ kind: 'retry', crashed: true });
    const second = decideAttempt(crash(signal, exitCode), { ...first, attempt: 2, crashes: 1 });
    expect(second).toMatchObject({ kind: 'fail', error: { code, phase: 'measure', details: { crashes: 2, signal: named } } });
  });

  it('a shutdown gives the attempt back, a lost lease writes nothing', () => {
    expect(decideAttempt({ kind: 'stopped', reason: 'shutdown' }, first)).toMatchObject({ kind: 'retry', countsAttempt: false });
    expect(decideAttempt({ kind: 'stopped', reason: 'lease_lost' }, first)).toEqual({ kind: 'abandon' });
  });

  it('a full JavaScript heap or a failed native allocation is out of memory, whatever signal ended it', () => {
    const limit = 2 ** 30;
    for (const stderrTail of [
      'FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory',
      'what():  std::bad_alloc',
    ]) {
      expect(classifyExit({ exitCode: null, signal: 'SIGABRT', stderrTail }, limit).kind).toBe('out_of_memory');
    }
    expect(classifyExit({ exitCode: null, signal: 'SIGABRT', stderrTail: 'assertion failed' }, limit).kind).toBe('crashed');
  });
});
