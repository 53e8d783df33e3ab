/** A database, a blob folder and a queue of their own for a test file, with jobs whose model tells the stand-in engine what to do. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { type JobState, newId } from '#contracts';
import { type ConfigWithDatabase, parseConfig } from '#platform/config';
import { appendOutbox, compressionRunEntry, type Database, openDatabase, recordJobStateChange } from '#platform/db';
import { type BlobStore, openBlobStore } from '#platform/storage';
import { createTestDatabase } from './test-database.js';

export type QueueBackend = 'postgres' | 'redis';

export interface JobWish {
  /** What the stand-in engine is told: see engine-stand-in.mjs. */
  readonly model?: Readonly<Record<string, unknown>>;
  /** A real model, for the real engine. */
  readonly modelBytes?: Uint8Array;
  /** A second model that the first one learns from. */
  readonly teacherBytes?: Uint8Array;
  readonly recipe?: object;
  readonly timeoutSeconds?: number;
  readonly deadlineAt?: Date;
  readonly webhookUrl?: string;
  readonly maxAttempts?: number;
  /** An .npz file with calibration samples. */
  readonly calibrationBytes?: Uint8Array;
  /** The model is deleted before the job is looked at. */
  readonly modelDeleted?: boolean;
  readonly teacherDeleted?: boolean;
  /** Nothing tells the queue of this job. */
  readonly entryLost?: boolean;
}

export interface TestJob {
  readonly id: string;
  readonly tenantId: string;
  /** A line per start of the engine: pid and scratch folder. */
  readonly journal: string;
}

export class JobWorld {
  private constructor(
    readonly config: ConfigWithDatabase,
    readonly database: Database,
    readonly blobs: BlobStore,
    private readonly tenantId: string,
    private readonly discard: () => Promise<void>,
  ) {}

  /** `settings` are LATHE_* variables on top of quick ones for tests. */
  static async open(backend: QueueBackend = 'postgres', settings: Readonly<Record<string, string>> = {}): Promise<JobWorld> {
    const testDatabase = await createTestDatabase();
    const dataDir = await mkdtemp(path.join(tmpdir(), 'lathe-world-'));
    const prefix = `lathe-test-${randomBytes(6).toString('hex')}`;
    const parsed = parseConfig(
      {
        DATABASE_URL: testDatabase.url,
        ...(backend === 'redis' ? { REDIS_URL: redisUrl } : {}),
        LATHE_QUEUE_PREFIX: prefix,
        LATHE_DATA_DIR: dataDir,
        LATHE_MIN_FREE_DISK_BYTES: '0',
        LATHE_JOB_LEASE_MS: '1500',
        LATHE_JOB_HEARTBEAT_MS: '200',
        LATHE_JOB_CANCEL_GRACE_MS: '500',
        LATHE_RECONCILE_INTERVAL_MS: '300',
        LATHE_OUTBOX_POLL_MS: '500',
        LATHE_QUEUE_LOCK_MS: '2000',
        LATHE_QUEUE_STALLED_MS: '500',
        LATHE_SHUTDOWN_GRACE_SECONDS: '4',
        ...settings,
      },
      dataDir,
    );
    const config = { ...parsed, databaseUrl: testDatabase.url };
    const database = openDatabase({ url: testDatabase.url });
    const tenantId = newId('tenant');
    await database.db.tenant.create({ data: { id: tenantId, name: 'test', webhookSecret: newWebhookSecret() } });
    return new JobWorld(config, database, await openBlobStore(config.storage), tenantId, async () => {
      await database.close();
      await testDatabase.drop();
      await rm(dataDir, { recursive: true, force: true });
      if (backend === 'redis') await removeRedisKeys(prefix);
    });
  }

  get tenant(): string {
    return this.tenantId;
  }

  async createJob(wish: JobWish = {}): Promise<TestJob> {
    const id = newId('job');
    const { tenantId } = this;
    const journal = path.join(this.config.dataDir, `${id}.journal`);
    const model = await this.storeModel(tenantId, wish.modelBytes ?? JSON.stringify({ name: id, journal, ...wish.model }));
    if (wish.modelDeleted) await this.database.db.model.update({ where: { id: model }, data: { deletedAt: new Date() } });
    const teacher = wish.teacherBytes ? await this.storeModel(tenantId, wish.teacherBytes) : null;
    if (wish.teacherDeleted && teacher) await this.database.db.model.update({ where: { id: teacher }, data: { deletedAt: new Date() } });
    const calibrationId = wish.calibrationBytes ? await this.storeDataset(tenantId, wish.calibrationBytes) : null;
    await this.database.transaction(async (tx) => {
      const job = await tx.job.create({
        data: {
          id,
          tenantId,
          state: 'queued',
          modelId: model,
          teacherModelId: teacher,
          calibrationId,
          recipe: wish.recipe ?? { steps: [{ method: 'clean-up' }] },
          recipeSha256: '0'.repeat(64),
          timeoutSeconds: wish.timeoutSeconds ?? null,
          deadlineAt: wish.deadlineAt ?? null,
          webhookUrl: wish.webhookUrl ?? null,
          ...(wish.maxAttempts === undefined ? {} : { maxAttempts: wish.maxAttempts }),
        },
      });
      await recordJobStateChange(tx, job);
      if (!wish.entryLost) await appendOutbox(tx, compressionRunEntry(job));
    });
    return { id, tenantId, journal };
  }

  async storeModel(tenantId: string, content: string | Uint8Array): Promise<string> {
    const file = path.join(this.config.dataDir, randomBytes(8).toString('hex'));
    await writeFile(file, content);
    const { sha256, bytes } = await this.blobs.putFile(tenantId, file);
    const id = newId('model');
    const files = [{ path: 'model.onnx', bytes, sha256, role: 'model' }];
    await this.database.db.model.create({ data: { id, tenantId, name: 'test', sha256, bytes: BigInt(bytes), files, inspection: {} } });
    return id;
  }

  private async storeDataset(tenantId: string, content: Uint8Array): Promise<string> {
    const file = path.join(this.config.dataDir, randomBytes(8).toString('hex'));
    await writeFile(file, content);
    const { sha256, bytes } = await this.blobs.putFile(tenantId, file);
    const id = newId('dataset');
    const facts = { name: 'test', sha256, bytes: BigInt(bytes), format: 'npz', sampleCount: 1, arrays: [] };
    await this.database.db.dataset.create({ data: { id, tenantId, ...facts } });
    return id;
  }

  async createEndpoint(
    url: string,
    options: { events?: string[]; format?: string; secrets?: string[] } = {},
  ): Promise<{ id: string; secret: string }> {
    const id = newId('webhookEndpoint');
    const secrets = (options.secrets ?? [newWebhookSecret()]).map((secret) => ({ secret, expires_at: null }));
    await this.database.db.webhookEndpoint.create({
      data: { id, tenantId: this.tenantId, url, events: options.events ?? ['*'], format: options.format ?? 'standard', secrets },
    });
    return { id, secret: secrets[0]?.secret ?? '' };
  }

  job(id: string) {
    return this.database.db.job.findUniqueOrThrow({ where: { id } });
  }

  async state(id: string): Promise<JobState> {
    return (await this.job(id)).state as JobState;
  }

  async events(jobId: string): Promise<string[]> {
    const rows = await this.database.db.jobEvent.findMany({ where: { jobId }, orderBy: { sequence: 'asc' } });
    expect(rows.map(({ sequence }) => sequence)).toEqual(rows.map((_, index) => index + 1));
    return rows.map(({ type }) => type);
  }

  artifacts(jobId: string) {
    return this.database.db.artifact.findMany({ where: { jobId }, orderBy: { name: 'asc' } });
  }

  /** What must hold whatever happened: the invariants of the design. */
  async checkInvariants(): Promise<void> {
    const { db } = this.database;
    for (const job of await db.job.findMany()) {
      const types = await this.events(job.id);
      const terminal = types.filter((type) => /\.(succeeded|failed|canceled|expired)$/.test(type));
      const ended = ['succeeded', 'failed', 'canceled', 'expired'].includes(job.state);
      expect(terminal, `terminal events of ${job.id}`).toEqual(ended ? [`job.${job.state}`] : []);
      if (ended) expect(job.leaseUntil, 'an ended job has no lease').toBeNull();
      if (job.state === 'running') expect(job.leaseUntil?.getTime(), 'a running job has a live lease').toBeGreaterThan(Date.now());
      const artifacts = await this.artifacts(job.id);
      expect(new Set(artifacts.map(({ name }) => name)).size).toBe(artifacts.length);
      if (job.state === 'succeeded') expect(artifacts.map(({ role }) => role)).toContain('model');
      for (const artifact of artifacts) expect(await this.hash(artifact.tenantId, artifact.sha256), artifact.name).toBe(artifact.sha256);
    }
    // Folders go after the job has ended, those of killed workers at the next look of a reconciler.
    await vi.waitFor(async () => expect(await this.ownerless('scratch', ['running', 'canceling'])).toEqual([]), { timeout: 5_000 });
    await vi.waitFor(async () => expect(await this.ownerless('checkpoints', unended)).toEqual([]), { timeout: 5_000 });
  }

  /** Folders below `root` that belong to no job in one of these states. */
  private async ownerless(root: 'scratch' | 'checkpoints', states: readonly JobState[]): Promise<string[]> {
    const folders = await readdir(path.join(this.config.dataDir, root)).catch(() => []);
    const live = await this.database.db.job.findMany({ where: { state: { in: [...states] } }, select: { id: true } });
    return folders.filter((name) => !live.some(({ id }) => name.startsWith(id)));
  }

  async close(): Promise<void> {
    await this.discard();
  }

  private async hash(tenantId: string, sha256: string): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of await this.blobs.open(tenantId, sha256)) hash.update(chunk as Buffer);
    return hash.digest('hex');
  }
}

const unended: readonly JobState[] = ['queued', 'running', 'canceling'];

export function newWebhookSecret(): string {
  return `whsec_${randomBytes(24).toString('base64')}`;
}

export const redisUrl = process.env.LATHE_TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';

/** Whether the Redis half of a suite can run here. */
export async function redisAnswers(): Promise<boolean> {
  const redis = new Redis(redisUrl, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 500 });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}

async function removeRedisKeys(prefix: string): Promise<void> {
  const redis = new Redis(redisUrl);
  const keys = await redis.keys(`${prefix}:*`);
  if (keys.length > 0) await redis.del(keys);
  redis.disconnect();
}
