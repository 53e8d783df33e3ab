/** Composition root of the worker: the one place where its adapters are constructed. */
import { availableParallelism, hostname } from 'node:os';
import path from 'node:path';
import { type ConfigWithDatabase, minimalEnvironment } from '#platform/config';
import {
  blobRepository,
  jobLeaseRepository,
  jobRepairRepository,
  listen,
  type NotificationListener,
  openDatabase,
  readWorkBacklog,
} from '#platform/db';
import { Readiness } from '#platform/lifecycle';
import { createQueueMetrics, createRegistry, createWorkerMetrics, type Registry } from '#platform/observability';
import { type OutboxRelay, startOutboxRelay } from '#platform/outbox';
import { programFile, runsFromSource } from '#platform/programs';
import { createJobConsumer, createJobQueue } from '#platform/queue';
import { openBlobStore } from '#platform/storage';
import type { EngineChildOptions } from './compression/engine-child.js';
import { EngineHost } from './compression/engine-host.js';
import { type CompressionJobDeps, runCompressionJob } from './compression/run-compression-job.js';
import { RunningJobs } from './compression/running-jobs.js';
import { startBlobSweeper } from './maintenance/orphan-blobs.js';
import { showBacklog } from './maintenance/queue-gauges.js';
import { startReconciler } from './maintenance/reconcile.js';

/** What the worker says to the log. */
export interface WorkerLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface WorkerOptions {
  readonly log: WorkerLog;
  readonly registry?: Registry;
  readonly readiness?: Readiness;
  /** The program of a job's process; tests put a stand-in here. */
  readonly engine?: Pick<EngineChildOptions, 'entry' | 'execArgv'>;
  /** Time between two checkpoints of a training; default: the engine's. */
  readonly checkpointEveryMs?: number;
}

export interface Worker {
  /** Takes no new job; what runs may end within the grace, then it goes back to the queue. */
  close(): Promise<void>;
}

const progressIntervalMs = 1_000;
/** Kept back from the shutdown grace for ending processes and writing rows. */
const closingReserveMs = 3_000;

/** Starts everything; resolves when jobs can arrive. */
export async function startWorker(config: ConfigWithDatabase, options: WorkerOptions): Promise<Worker> {
  const { log, engine, checkpointEveryMs = null, registry = createRegistry('worker'), readiness = new Readiness() } = options;
  const { jobs } = config;
  const [metrics, queueMetrics] = [createWorkerMetrics(registry), createQueueMetrics(registry)];
  const onError = (error: unknown) => log.warn({ err: error }, 'worker trouble');
  const database = openDatabase({ url: config.databaseUrl, poolSize: jobs.concurrency * 2 + 6 });
  const blobs = await openBlobStore(config.storage);
  const queue = createJobQueue(config, onError);
  const consumer = createJobConsumer(config);
  const running = new RunningJobs();
  const { scratchRoot, checkpointRoot, cacheDir } = foldersIn(config.dataDir);
  const host = new EngineHost({
    ...(engine ?? engineProgram()),
    environment: minimalEnvironment(),
    concurrency: jobs.concurrency,
    memoryBytes: jobs.memoryBytes,
    stopGraceMs: jobs.cancelGraceMs,
  });
  const compression: CompressionJobDeps = {
    leases: jobLeaseRepository(database, { workerId: `${hostname()}-${process.pid}`, leaseMs: jobs.leaseMs }),
    blobs,
    engine: host,
    running,
    ...{ scratchRoot, checkpointRoot, checkpointEveryMs, cacheDir },
    heartbeatMs: jobs.heartbeatMs,
    timeoutMs: jobs.timeoutMs,
    progressIntervalMs,
    threads: jobs.concurrency === 1 ? null : Math.max(1, Math.floor(availableParallelism() / jobs.concurrency)),
    log: (fields) => log.info(fields, 'job attempt'),
    metrics,
    onError,
  };
  const relay = startOutboxRelay({ database, queue, name: 'compression.run', pollMs: jobs.outboxPollMs, onError });
  const listener = await listenFor(config.databaseUrl, { relay, running });
  const reconciler = startReconciler({
    repairs: jobRepairRepository(database),
    blobs,
    ...{ scratchRoot, checkpointRoot },
    intervalMs: jobs.reconcileIntervalMs,
    onLook: async () => showBacklog(queueMetrics, await readWorkBacklog(database)),
    log: (fields) => log.info(fields, 'repaired'),
    onError,
  });
  const sweeper = startBlobSweeper({ blobs, blobRows: blobRepository(database), log: (fields) => log.info(fields, 'swept'), onError });
  addChecks(readiness, { database, queue, blobs });
  await host.start();
  await consumer.start({
    queues: ['compression.run'],
    handlers: {
      'compression.run': ({ payload, attempt }) =>
        runCompressionJob(compression, { tenantId: payload.tenant_id, jobId: payload.job_id, repeated: attempt > 1 }),
    },
    concurrency: jobs.concurrency,
    onError,
  });
  return {
    close: async () => {
      await Promise.all([reconciler.close(), sweeper.close()]);
      const grace = setTimeout(() => running.stopAll(), Math.max(0, config.shutdownGraceMs - jobs.cancelGraceMs - closingReserveMs));
      await consumer.close();
      clearTimeout(grace);
      await host.close();
      await listener.close();
      await relay.close();
      await queue.close();
      await database.close();
    },
  };
}

function foldersIn(dataDir: string): Readonly<Record<'scratchRoot' | 'checkpointRoot' | 'cacheDir', string>> {
  const below = (name: string) => path.join(dataDir, name);
  return { scratchRoot: below('scratch'), checkpointRoot: below('checkpoints'), cacheDir: below('cache') };
}

function addChecks(
  readiness: Readiness,
  dependencies: Readonly<Record<'database' | 'queue' | 'blobs', { ping(): Promise<unknown> }>>,
): void {
  readiness.add('database', () => dependencies.database.ping());
  readiness.add('queue', () => dependencies.queue.ping());
  readiness.add('storage', () => dependencies.blobs.ping());
}

function listenFor(url: string, { relay, running }: { relay: OutboxRelay; running: RunningJobs }): Promise<NotificationListener> {
  return listen({
    url,
    channels: ['outbox', 'jobCancel'],
    onNotification: (channel, payload) => {
      if (channel === 'jobCancel') running.check(payload);
      else if (payload === 'compression.run') relay.wake();
    },
    onConnect: () => {
      relay.wake();
      running.checkAll();
    },
  });
}

/** From source with the TypeScript loader of this process, from dist without. */
function engineProgram(): Pick<EngineChildOptions, 'entry' | 'execArgv'> {
  return {
    entry: programFile('worker/compression/engine-process'),
    execArgv: runsFromSource ? ['--import', import.meta.resolve('tsx')] : [],
  };
}
