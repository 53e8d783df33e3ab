/** What follows from the end of an attempt: success, failure for good, another attempt, cancellation, or nothing of ours to say. */
import { type ErrorCode, errorTable, isErrorCode, type JobError } from '#contracts';
import type { EngineOutcome } from './engine-outcome.js';

/** Why the worker told a process to stop. */
export type StopReason = 'canceled' | 'shutdown' | 'lease_lost';

export type AttemptOutcome =
  | Exclude<EngineOutcome, { kind: 'stopped' }>
  | { readonly kind: 'stopped'; readonly reason: StopReason }
  /** Storage or database failed before or after the engine ran: not the job's fault. */
  | { readonly kind: 'infrastructure_failed'; readonly cause: unknown }
  /** What the job names is not there any more. */
  | { readonly kind: 'input_missing'; readonly message: string };

export interface AttemptHistory {
  /** This attempt, from 1. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** Earlier attempts whose process died. */
  readonly crashes: number;
  /** Where the job was. */
  readonly phase: string | null;
}

export type AttemptDecision =
  | { readonly kind: 'succeed' }
  | { readonly kind: 'fail'; readonly error: JobError }
  | {
      readonly kind: 'retry';
      readonly reason: string;
      readonly countsAttempt: boolean;
      readonly crashed: boolean;
      readonly delayMs: number;
    }
  | { readonly kind: 'cancel' }
  /** Someone else has the job: write nothing. */
  | { readonly kind: 'abandon' };

/** A process that dies may have been killed from outside once. The second time it is the model. */
const crashesMax = 2;
/** Times the attempt: storage that was away may be back. */
const infrastructureDelayMs = 5_000;

export function decideAttempt(outcome: AttemptOutcome, history: AttemptHistory): AttemptDecision {
  const fail = (code: ErrorCode, message: string, details: JobError['details'] = {}): AttemptDecision => ({
    kind: 'fail',
    error: { code, message, phase: history.phase, retryable: errorTable[code].retryable, details },
  });
  switch (outcome.kind) {
    case 'finished':
      if (outcome.gatePassed) return { kind: 'succeed' };
      return fail(
        'quality_gate_failed',
        'The artifact misses the gate of the recipe; the report says by how much. The best that was found is kept as rejected-model.onnx.',
        {
          missed: outcome.missed,
        },
      );
    case 'refused':
      if (outcome.code === 'canceled') return { kind: 'cancel' };
      return fail(isErrorCode(outcome.code) ? outcome.code : 'internal', outcome.message, outcome.details);
    case 'crashed':
      return decideCrash(outcome, history, fail);
    case 'out_of_memory':
      return fail('out_of_memory', `The job needs more than the ${mebibytes(outcome.limitBytes)} MiB of memory it may use.`, {
        limit_bytes: outcome.limitBytes,
        ...(outcome.residentBytes === null ? {} : { resident_bytes: outcome.residentBytes }),
      });
    case 'timed_out':
      return fail('timeout', `The job was ended after ${outcome.limitMs / 1000} seconds, its limit.`, {
        limit_seconds: outcome.limitMs / 1000,
      });
    case 'stopped':
      return decideStop(outcome.reason);
    case 'infrastructure_failed':
      if (history.attempt < history.maxAttempts) {
        const delayMs = infrastructureDelayMs * history.attempt;
        return { kind: 'retry', reason: 'infrastructure_failed', countsAttempt: true, crashed: false, delayMs };
      }
      return fail('internal', `The service could not run this job in ${history.attempt} attempts.`);
    case 'input_missing':
      return fail('gone', outcome.message);
    default:
      return outcome satisfies never;
  }
}

type Fail = (code: ErrorCode, message: string, details?: JobError['details']) => AttemptDecision;

function decideCrash(outcome: { signal: string | null; exitCode: number | null }, history: AttemptHistory, fail: Fail): AttemptDecision {
  const crashes = history.crashes + 1;
  if (crashes < crashesMax && history.attempt < history.maxAttempts) {
    return { kind: 'retry', reason: 'process_crashed', countsAttempt: true, crashed: true, delayMs: 0 };
  }
  const signal = outcome.signal ?? signalOfExitCode(outcome.exitCode);
  const details = { crashes, signal, exit_code: outcome.exitCode };
  // Without a signal it was an exception of ours that nothing caught: a bug, not the model's doing.
  if (signal === null) return fail('internal', 'The engine ended unexpectedly, twice; it is not tried again.', details);
  return fail(
    'worker_crashed',
    `This model ended the process that compressed it (${signal}) ${crashes} times; it is not tried again.`,
    details,
  );
}

/** Shells and containers report a death by signal n as exit code 128 + n. */
function signalOfExitCode(exitCode: number | null): string | null {
  const signals: Readonly<Record<number, string>> = {
    132: 'SIGILL',
    134: 'SIGABRT',
    135: 'SIGBUS',
    136: 'SIGFPE',
    137: 'SIGKILL',
    139: 'SIGSEGV',
  };
  return exitCode === null ? null : (signals[exitCode] ?? null);
}

function decideStop(reason: StopReason): AttemptDecision {
  switch (reason) {
    case 'canceled':
      return { kind: 'cancel' };
    case 'shutdown':
      return { kind: 'retry', reason: 'worker_shutdown', countsAttempt: false, crashed: false, delayMs: 0 };
    case 'lease_lost':
      return { kind: 'abandon' };
    default:
      return reason satisfies never;
  }
}

const mebibytes = (bytes: number) => Math.round(bytes / 1024 / 1024);
