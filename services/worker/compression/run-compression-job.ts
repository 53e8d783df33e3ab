/** The use case of the worker: claim a job, bring its files, run the engine, keep what it made, end the job exactly once. */
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AppError, type JobState } from '#contracts';
import type { ClaimedJob, JobEnding, JobLeaseRepository } from '#platform/db';
import type { WorkerMetrics } from '#platform/observability';
import { countAttempt, countResult } from './attempt-metrics.js';
import type { EngineRun } from './engine-host.js';
import type { EngineFinished, EngineOutcome } from './engine-outcome.js';
import { type AttemptDecision, type AttemptOutcome, decideAttempt } from './failure-policy.js';
import { removeCheckpoints } from './job-checkpoints.js';
import { type InputBlobs, InputMissingError, materialiseInputs } from './job-inputs.js';
import { type OutputBlobs, storeOutputs } from './job-outputs.js';
import { keepLease, type LeaseKeeper } from './lease-keeper.js';
import { createProgressRecorder, type ProgressRecorder } from './progress-recorder.js';
import type { RunningJobs } from './running-jobs.js';

export interface CompressionJobDeps {
  readonly leases: JobLeaseRepository;
  readonly blobs: InputBlobs & OutputBlobs;
  readonly engine: { run(run: EngineRun): Promise<EngineOutcome> };
  readonly running: RunningJobs;
  readonly scratchRoot: string;
  /** Outlives the attempts: one folder per job. */
  readonly checkpointRoot: string;
  /** Time between two checkpoints of a training; null leaves it to the engine. */
  readonly checkpointEveryMs: number | null;
  /** Outlives the jobs; may be emptied at any time. */
  readonly cacheDir: string;
  readonly heartbeatMs: number;
  /** Limit of jobs that name none. */
  readonly timeoutMs: number;
  readonly progressIntervalMs: number;
  /** CPU threads per job; null leaves it to the engine. */
  readonly threads: number | null;
  /** One line per attempt. */
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
  readonly metrics: WorkerMetrics;
  readonly onError: (error: unknown) => void;
}

interface Attempt {
  readonly claimed: ClaimedJob;
  readonly keeper: LeaseKeeper;
  readonly progress: ProgressRecorder;
  readonly scratch: string;
  /** Of the job: the next attempt finds what this one leaves. */
  readonly checkpoints: string;
}

export interface CompressionMessage {
  readonly tenantId: string;
  readonly jobId: string;
  /** It came before, and its handler threw or was lost. */
  readonly repeated: boolean;
}

/** Nothing happens when the job is not waiting: the message was a repeat. May run any number of times for one message. */
export async function runCompressionJob(deps: CompressionJobDeps, message: CompressionMessage): Promise<void> {
  if (message.repeated) deps.metrics.redelivered.inc();
  const claimed = await deps.leases.claim(message);
  if (claimed === null) return;
  const startedAt = performance.now();
  const { jobId, epoch, job } = claimed;
  const keeper = keepLease({ ...deps, lease: claimed });
  const release = deps.running.add(jobId, keeper);
  deps.metrics.queueWaitSeconds.observe(Math.max(0, Date.now() - job.queuedAt.getTime()) / 1000);
  const onPhaseEnded = (phase: string, seconds: number) => deps.metrics.phaseSeconds.observe({ phase }, seconds);
  const progress = createProgressRecorder({ ...deps, lease: claimed, intervalMs: deps.progressIntervalMs, onPhaseEnded });
  const scratch = path.join(deps.scratchRoot, `${jobId}-${epoch}`);
  const checkpoints = path.join(deps.checkpointRoot, jobId);
  const attempt = { claimed, keeper, progress, scratch, checkpoints };
  let ended: Ended | undefined;
  try {
    ended = await runAttempt(deps, attempt);
  } finally {
    keeper.end();
    release();
    await rm(scratch, { recursive: true, force: true }).catch(deps.onError);
    await removeCheckpoints(checkpoints, ended?.state ?? null).catch(deps.onError);
    const seconds = (performance.now() - startedAt) / 1000;
    const code = ended?.decision.kind === 'fail' ? ended.decision.error.code : null;
    countAttempt(deps.metrics, { recipe: job.recipe, state: ended?.state ?? null, code, seconds });
    deps.log({
      tenant_id: claimed.tenantId,
      job_id: jobId,
      request_id: job.requestId,
      epoch,
      attempt: job.attempt,
      queue_wait_ms: job.startedAt === null ? null : job.startedAt.getTime() - job.createdAt.getTime(),
      duration_ms: Math.round(seconds * 1000),
      phase: progress.phase(),
      outcome: ended?.outcome.kind ?? 'unrecorded',
      decision: ended?.decision.kind ?? 'none',
      ...(code === null ? {} : { code }),
      ...describeOutcome(ended?.outcome),
      state: ended?.state ?? null,
    });
  }
}

interface Ended {
  readonly outcome: AttemptOutcome;
  readonly decision: AttemptDecision;
  /** The state this attempt wrote; null when it had no right to write. */
  readonly state: JobState | null;
}

async function runAttempt(deps: CompressionJobDeps, attempt: Attempt): Promise<Ended> {
  const { claimed, keeper, progress } = attempt;
  let outcome = await prepareAndRun(deps, attempt);
  await progress.settled();
  const history = { ...claimed.job, phase: progress.phase() };
  let decision = decideAttempt(outcome, history);
  if (outcome.kind === 'finished' && decision.kind !== 'abandon') {
    try {
      return { outcome, decision, state: await storeAndFinish(deps, attempt, { finished: outcome, decision }) };
    } catch (cause) {
      deps.onError(cause);
      outcome = { kind: 'infrastructure_failed', cause };
      decision = decideAttempt(outcome, history);
    }
  }
  if (keeper.reason() === 'lease_lost') return { outcome, decision: { kind: 'abandon' }, state: null };
  return { outcome, decision, state: await persistently(deps, () => apply(deps, claimed, decision)) };
}

/** Everything up to the exit of the engine's process. Never throws. */
async function prepareAndRun(deps: CompressionJobDeps, attempt: Attempt): Promise<AttemptOutcome> {
  const { claimed, keeper, progress, scratch, checkpoints } = attempt;
  try {
    const folders = { input: path.join(scratch, 'input'), out: path.join(scratch, 'out'), temporary: path.join(scratch, 'temporary') };
    // What an attempt at this epoch left behind would be our own: a worker that restarted under the same claim does not exist.
    await rm(scratch, { recursive: true, force: true });
    for (const folder of [...Object.values(folders), checkpoints]) await mkdir(folder, { recursive: true, mode: 0o700 });
    const inputs = await deps.leases.inputs(claimed);
    const paths = await materialiseInputs(deps.blobs, claimed, { inputs, folder: folders.input });
    const { job } = claimed;
    const outcome = await runEngine(deps, {
      job: {
        ...paths,
        recipe: job.recipe,
        outDir: folders.out,
        scratch: folders.temporary,
        cacheDir: deps.cacheDir,
        checkpoints,
        checkpointEveryMs: deps.checkpointEveryMs,
        threads: deps.threads,
      },
      timeoutMs: job.timeoutSeconds === null ? deps.timeoutMs : job.timeoutSeconds * 1000,
      signal: keeper.signal,
      onProgress: progress.record,
    });
    return outcome.kind === 'stopped' ? { kind: 'stopped', reason: keeper.reason() ?? 'canceled' } : outcome;
  } catch (cause) {
    if (cause instanceof InputMissingError) return { kind: 'input_missing', message: cause.message };
    if (cause instanceof AppError && cause.code === 'not_found')
      return { kind: 'input_missing', message: 'A file of this job was deleted.' };
    deps.onError(cause);
    return { kind: 'infrastructure_failed', cause };
  }
}

async function runEngine({ engine, metrics }: CompressionJobDeps, run: EngineRun): Promise<EngineOutcome> {
  metrics.children.inc();
  try {
    const outcome = await engine.run(run);
    metrics.childExits.inc({ reason: outcome.kind });
    return outcome;
  } finally {
    metrics.children.dec();
  }
}

async function storeAndFinish(
  deps: CompressionJobDeps,
  { claimed, scratch }: Attempt,
  { finished, decision }: { finished: EngineFinished; decision: AttemptDecision },
): Promise<JobState | null> {
  const outDir = path.join(scratch, 'out');
  const outputs = await storeOutputs(deps.blobs, finished, { tenantId: claimed.tenantId, outDir, rejected: decision.kind !== 'succeed' });
  const { artifacts, result, ensureStored } = outputs;
  const ending: JobEnding =
    decision.kind === 'fail'
      ? { state: 'failed', result, error: decision.error, artifacts, ensureStored }
      : { state: 'succeeded', result, error: null, artifacts, ensureStored };
  const state = await persistently(deps, () => deps.leases.finish(claimed, ending));
  if (state === 'succeeded') countResult(deps.metrics, result);
  return state;
}

/**
 * Hours of work do not end with a database that restarts just now. If a write was done although it failed here, the next try finds
 * the lease gone.
 */
async function persistently<T>({ onError }: CompressionJobDeps, write: () => Promise<T>): Promise<T> {
  for (const delayMs of writeRetryDelaysMs) {
    try {
      return await write();
    } catch (error) {
      onError(error);
      await delay(delayMs);
    }
  }
  return write();
}
const writeRetryDelaysMs = [250, 1_000, 3_000, 8_000];

/** Decisions that leave nothing behind but a state. */
async function apply(deps: CompressionJobDeps, claimed: ClaimedJob, decision: AttemptDecision): Promise<JobState | null> {
  switch (decision.kind) {
    case 'fail':
      return deps.leases.finish(claimed, { state: 'failed', result: null, error: decision.error, artifacts: [] });
    case 'cancel':
      return deps.leases.finish(claimed, { state: 'canceled', result: null, error: null, artifacts: [] });
    case 'retry':
      return deps.leases.requeue(claimed, decision);
    case 'abandon':
      return null;
    case 'succeed':
      throw new Error('A success is written together with its artifacts');
    default:
      return decision satisfies never;
  }
}

function describeOutcome(outcome: AttemptOutcome | undefined): Record<string, unknown> {
  if (outcome?.kind === 'crashed') return { signal: outcome.signal, exit_code: outcome.exitCode, stderr_tail: outcome.stderrTail };
  if (outcome?.kind === 'out_of_memory') return { resident_bytes: outcome.residentBytes, limit_bytes: outcome.limitBytes };
  if (outcome?.kind === 'stopped') return { stop_reason: outcome.reason };
  return {};
}
