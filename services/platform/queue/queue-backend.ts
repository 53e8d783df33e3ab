/** Where BullMQ keeps its queues: on Redis when there is one, else in schema `bullmq` of the Postgres that is there anyway. */
import {
  createPostgresBackend,
  createRedisBackend,
  isPgPool,
  type JobsOptions,
  type Processor,
  runMigrations,
  type WorkerOptions,
  withBackend,
} from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';

const SCHEMA = 'bullmq';

export interface QueueLocation {
  /** Unset: Postgres. */
  readonly redisUrl?: string;
  readonly databaseUrl: string;
  /** Of all Redis keys. */
  readonly prefix: string;
}

export interface QueueHandle {
  add(name: string, data: object, options: JobsOptions): Promise<unknown>;
  waitUntilReady(): Promise<void>;
  close(): Promise<void>;
}

export interface WorkerHandle {
  run(): Promise<void>;
  waitUntilReady(): Promise<void>;
  close(force?: boolean): Promise<void>;
}

export type WorkerSettings = Omit<WorkerOptions, 'connection' | 'prefix'>;

/** One connection (pool) and what BullMQ builds on it. Closing ends the connection, not the queues and workers. */
export interface QueueConnection {
  queue(name: string): QueueHandle;
  /** Also failures of the processor are reported to onError of the connection. */
  worker(name: string, processor: Processor, settings: WorkerSettings): WorkerHandle;
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface ConnectionOptions {
  /** Producers fail within this time; undefined: wait for the backend for ever, as consumers do. */
  readonly failAfterMs?: number;
  readonly onError: (error: Error) => void;
}

export function openQueueConnection(location: QueueLocation, options: ConnectionOptions): QueueConnection {
  return location.redisUrl === undefined
    ? openPostgres(location.databaseUrl, options)
    : openRedis(location.redisUrl, location.prefix, options);
}

function openPostgres(databaseUrl: string, { failAfterMs, onError }: ConnectionOptions): QueueConnection {
  const { Queue, Worker } = withBackend(createPostgresBackend);
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    // The pool is ours because BullMQ would load `pg` with require(); it pins the schema the same way.
    options: `-c search_path=${SCHEMA}`,
    application_name: 'lathe-queue',
    // Each worker keeps one connection for LISTEN.
    max: failAfterMs === undefined ? 8 : 4,
    keepAlive: true,
    connectionTimeoutMillis: failAfterMs ?? 10_000,
    query_timeout: failAfterMs ?? 30_000,
  });
  pool.on('error', onError);
  if (!isPgPool(pool)) throw new TypeError('BullMQ does not take this version of pg');
  return {
    queue: (name) => {
      const queue = new Queue(name, { connection: pool });
      queue.on('error', onError);
      return queue;
    },
    worker: (name, processor, settings) => {
      const worker = new Worker(name, processor, { ...settings, connection: pool });
      worker.on('error', onError);
      worker.on('failed', (_job, error) => onError(error));
      return worker;
    },
    ping: async () => {
      await pool.query('SELECT 1');
    },
    close: () => pool.end(),
  };
}

function openRedis(url: string, prefix: string, { failAfterMs, onError }: ConnectionOptions): QueueConnection {
  const { Queue, Worker } = withBackend(createRedisBackend);
  const consumer = { maxRetriesPerRequest: null };
  const producer = { enableOfflineQueue: false, maxRetriesPerRequest: 1, commandTimeout: failAfterMs ?? 0 };
  const redis = new Redis(url, {
    connectionName: 'lathe-queue',
    connectTimeout: 5_000,
    retryStrategy: (attempt: number) => Math.min(100 * 2 ** Math.min(attempt, 6), 3_000),
    ...(failAfterMs === undefined ? consumer : producer),
  });
  redis.on('error', onError);
  return {
    queue: (name) => {
      const queue = new Queue(name, { connection: redis, prefix });
      queue.on('error', onError);
      return queue;
    },
    worker: (name, processor, settings) => {
      const worker = new Worker(name, processor, { ...settings, connection: redis, prefix });
      worker.on('error', onError);
      worker.on('failed', (_job, error) => onError(error));
      return worker;
    },
    ping: async () => {
      await redis.ping();
    },
    close: async () => redis.disconnect(),
  };
}

/** Brings BullMQ's own tables to its release; called by the migration runner, on its connection and under its lock. */
export async function migrateQueueSchema(client: pg.Client): Promise<void> {
  await runMigrations(client, SCHEMA);
}
