/** Where BullMQ keeps its queues: on Redis when there is one, else in schema `bullmq` of the Postgres that is there anyway. */
import {
  createPostgresBackend,
  createRedisBackend,
  type Processor,
  type Queue,
  runMigrations,
  type Worker,
  type WorkerOptions,
  withBackend,
} from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import pg from 'pg';

const SCHEMA = 'bullmq';

export interface QueueLocation {
  /** Unset: Postgres. */
  readonly redisUrl?: string;
  readonly databaseUrl: string;
  /** Of all Redis keys. */
  readonly prefix: string;
}

export type QueueHandle = Pick<Queue, 'add' | 'waitUntilReady' | 'close' | 'on'>;
export type WorkerHandle = Pick<Worker, 'run' | 'waitUntilReady' | 'close' | 'on'>;
export type WorkerSettings = Omit<WorkerOptions, 'connection' | 'prefix'>;

/** One connection (pool) and what BullMQ builds on it. Closing ends the connection, not the queues and workers. */
export interface QueueConnection {
  queue(name: string): QueueHandle;
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
  return {
    queue: (name) => new Queue(name, { connection: pool }) as QueueHandle,
    worker: (name, processor, settings) => new Worker(name, processor, { ...settings, connection: pool }) as unknown as WorkerHandle,
    ping: async () => {
      await pool.query('SELECT 1');
    },
    close: () => pool.end(),
  };
}

function openRedis(url: string, prefix: string, { failAfterMs, onError }: ConnectionOptions): QueueConnection {
  const { Queue, Worker } = withBackend(createRedisBackend);
  const failFast: RedisOptions = {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    ...(failAfterMs ? { commandTimeout: failAfterMs } : {}),
  };
  const redis = new Redis(url, {
    connectionName: 'lathe-queue',
    connectTimeout: 5_000,
    retryStrategy: (attempt) => Math.min(100 * 2 ** Math.min(attempt, 6), 3_000),
    ...(failAfterMs === undefined ? { maxRetriesPerRequest: null } : failFast),
  });
  redis.on('error', onError);
  return {
    queue: (name) => new Queue(name, { connection: redis, prefix }) as QueueHandle,
    worker: (name, processor, settings) => new Worker(name, processor, { ...settings, connection: redis, prefix }) as WorkerHandle,
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
