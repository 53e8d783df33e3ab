/** The parsed configuration as the processes see it: nested by concern, units in the names, frozen. */

export type ProcessRole = 'api' | 'worker' | 'webhooks';

export interface FilesystemStorageConfig {
  readonly kind: 'filesystem';
  /** Absolute path. */
  readonly root: string;
  readonly minFreeBytes: number;
}

export interface S3StorageConfig {
  readonly kind: 's3';
  readonly bucket: string;
  readonly region: string;
  readonly endpoint?: string;
  readonly forcePathStyle: boolean;
  /** Unset: the credential chain of the AWS SDK. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Absolute path; uploads are staged here while their hash is computed. */
  readonly stagingRoot: string;
  readonly minFreeBytes: number;
}

export type StorageConfig = FilesystemStorageConfig | S3StorageConfig;

export interface QueueConfig {
  /** Unset: the queue lives in Postgres. */
  readonly redisUrl?: string;
  readonly prefix: string;
  readonly lockMs: number;
  readonly stalledMs: number;
}

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  readonly uploadMaxBytes: number;
  readonly rateLimitPerMinute: number;
}

export interface JobConfig {
  readonly concurrency: number;
  readonly memoryBytes: number;
  readonly timeoutMs: number;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly cancelGraceMs: number;
  readonly outboxPollMs: number;
  readonly reconcileIntervalMs: number;
}

export interface WebhookConfig {
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** Waiting time before attempt 1, 2, ... */
  readonly retryDelaysMs: readonly number[];
  readonly disableAfterMs: number;
}

/** What the outbound guard lets through besides public addresses. */
export type EgressRule =
  | { readonly kind: 'cidr'; readonly cidr: string }
  | { readonly kind: 'host'; readonly host: string; readonly port: number };

export interface Config {
  readonly role: 'all' | ProcessRole;
  /** Absolute path. */
  readonly dataDir: string;
  /** Unset: derived from host and the port that was bound. */
  readonly publicUrl?: string;
  readonly firstApiKey?: string;
  /** Unset: the embedded server in the data folder. */
  readonly databaseUrl?: string;
  readonly queue: QueueConfig;
  readonly storage: StorageConfig;
  readonly egressAllow: readonly EgressRule[];
  readonly logLevel: string;
  readonly logFormat: 'auto' | 'json' | 'text';
  readonly shutdownGraceMs: number;
  readonly http: HttpConfig;
  /** Of a worker or webhooks process that was started alone; unset: no probes and metrics over HTTP. */
  readonly metricsPort?: number;
  readonly jobs: JobConfig;
  readonly webhooks: WebhookConfig;
}

/** A configuration whose database is known: what every process but the supervisor works with. */
export type ConfigWithDatabase = Config & { readonly databaseUrl: string };
