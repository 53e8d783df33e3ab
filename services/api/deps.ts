/** The composition root: the one place of this process where adapters are constructed. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import type { ConfigWithDatabase } from '#platform/config';
import {
  type ApiKeyRepository,
  type ArtifactRepository,
  apiKeyRepository,
  artifactRepository,
  type BlobRepository,
  blobRepository,
  type DatasetRepository,
  datasetRepository,
  instanceSecret,
  type JobRepository,
  jobRepository,
  listen,
  type ModelRepository,
  modelRepository,
  openDatabase,
  type WebhookEndpointRepository,
  webhookEndpointRepository,
} from '#platform/db';
import { checkUrl, createEgressAllowList } from '#platform/egress';
import { Readiness } from '#platform/lifecycle';
import { type ApiMetrics, createApiMetrics, createRegistry, type Logger, type Registry } from '#platform/observability';
import { createJobQueue } from '#platform/queue';
import { type BlobStore, openBlobStore, StagingArea } from '#platform/storage';
import { type CursorCodec, cursorCodec } from './http/cursor.js';
import { createJobWatcher, type JobWatcher } from './jobs/job-watcher.js';
import { removeAbandonedUploads } from './uploads/upload-folder.js';

export type {
  ApiKeyRecord,
  ArtifactRecord,
  AttemptRecord,
  DatasetArray,
  DatasetRecord,
  DeliveryRecord,
  EndpointRecord,
  JobEventRecord,
  JobRecord,
  JobRevision,
  ModelFile,
  ModelRecord,
  NewJob,
  NewModel,
} from '#platform/db';

/** What receives a stream into a file. */
export type UploadStaging = Pick<StagingArea, 'receive'>;

export interface ApiLimits {
  readonly jsonBodyMaxBytes: number;
  readonly uploadMaxBytes: number;
  readonly requestsPerMinute: number;
}

/** Everything that routes may need; each takes its part. */
export interface ApiDeps {
  readonly logger: Logger;
  readonly registry: Registry;
  readonly metrics: ApiMetrics;
  readonly readiness: Readiness;
  readonly limits: ApiLimits;
  readonly apiKeys: ApiKeyRepository;
  readonly models: ModelRepository;
  readonly datasets: DatasetRepository;
  readonly jobs: JobRepository;
  readonly artifacts: ArtifactRepository;
  readonly webhookEndpoints: WebhookEndpointRepository;
  readonly blobRows: BlobRepository;
  readonly blobs: BlobStore;
  readonly staging: UploadStaging;
  /** Uploads are unpacked and inspected below it. */
  readonly uploadFolder: string;
  readonly cursors: CursorCodec;
  readonly watcher: JobWatcher;
  /** Throws AppError egress_refused. */
  checkWebhookUrl(url: string): Promise<unknown>;
}

export interface OpenDepsOptions {
  readonly config: ConfigWithDatabase;
  readonly logger: Logger;
  readonly registry?: Registry;
  readonly readiness?: Readiness;
}

const jsonBodyMaxBytes = 1024 * 1024;

/** Connects to everything. `close` gives it all back, in reverse order. */
export async function openApiDeps(options: OpenDepsOptions): Promise<{ deps: ApiDeps; close(): Promise<void> }> {
  const { config, logger, registry = createRegistry('api'), readiness = new Readiness() } = options;
  const database = openDatabase({ url: config.databaseUrl });
  const queue = createJobQueue(config, (err) => logger.warn({ err }, 'queue connection'));
  const blobs = await openBlobStore(config.storage);
  const uploadFolder = path.join(config.dataDir, 'uploads');
  await mkdir(uploadFolder, { recursive: true, mode: 0o700 });
  await removeAbandonedUploads(uploadFolder);

  const jobs = jobRepository(database);
  const watcher = createJobWatcher({ revisions: jobs.revisions, onError: (err) => logger.warn({ err }, 'job watcher') });
  const listener = await listen({
    url: config.databaseUrl,
    channels: ['jobEvent'],
    onNotification: (_channel, jobId) => watcher.notify(jobId),
  });
  readiness.add('database', () => database.ping());
  readiness.add('queue', () => queue.ping());
  readiness.add('storage', () => blobs.ping());

  const allow = createEgressAllowList(config.egressAllow);
  const staging = new StagingArea(uploadFolder, config.storage.minFreeBytes);
  // Fails as an upload would when the disk is too full for any.
  readiness.add('disk', () => staging.receive(Readable.from([]), { maxBytes: 0 }, async () => undefined));
  const deps: ApiDeps = {
    logger,
    registry,
    metrics: createApiMetrics(registry),
    readiness,
    limits: { jsonBodyMaxBytes, uploadMaxBytes: config.http.uploadMaxBytes, requestsPerMinute: config.http.rateLimitPerMinute },
    apiKeys: apiKeyRepository(database),
    models: modelRepository(database),
    datasets: datasetRepository(database),
    jobs,
    artifacts: artifactRepository(database),
    webhookEndpoints: webhookEndpointRepository(database),
    blobRows: blobRepository(database),
    blobs,
    staging,
    uploadFolder,
    cursors: cursorCodec(await instanceSecret(database.db, 'cursor_key')),
    watcher,
    checkWebhookUrl: (url) => checkUrl(url, allow),
  };
  const close = async () => {
    watcher.close();
    await listener.close();
    await queue.close();
    await database.close();
  };
  return { deps, close };
}
