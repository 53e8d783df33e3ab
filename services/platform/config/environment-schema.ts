/** Every setting of every process, once: name, type, default and meaning. Parsing (parse-config.ts) and the reference table follow it. */
import Type, { type Static } from 'typebox';

const MEBIBYTE = 1024 * 1024;
const text = (description: string, rest: object = {}) => Type.Optional(Type.String({ description, minLength: 1, ...rest }));
const secret = (description: string, rest: object = {}) => text(description, { secret: true, ...rest });
const count = (description: string, value: number, limits: object = {}) =>
  Type.Integer({ description, default: value, minimum: 1, ...limits });
const choice = <const Values extends string[]>(description: string, value: Values[number], values: [...Values]) =>
  Type.Enum(values, { description, default: value });

export const environmentSchema = Type.Object({
  LATHE_ROLE: choice('Which processes this start runs: all of them under one supervisor, or one alone.', 'all', [
    'all',
    'api',
    'worker',
    'webhooks',
  ]),
  LATHE_HOST: Type.String({ description: 'Address the API listens on.', default: '127.0.0.1', minLength: 1 }),
  LATHE_PORT: Type.Integer({ description: 'Port the API listens on; 0 takes a free one.', default: 8080, minimum: 0, maximum: 65_535 }),
  LATHE_METRICS_PORT: Type.Optional(
    Type.Integer({
      description:
        'Port of /livez, /readyz and /metrics, on LATHE_HOST, of a worker or webhooks process that was started alone; unset: none. The API has them on its own port.',
      minimum: 0,
      maximum: 65_535,
    }),
  ),
  LATHE_PUBLIC_URL: text('URL under which clients reach the API, used in links; default http://<host>:<port>.', { pattern: '^https?://' }),
  LATHE_API_KEY: secret('The first API key, in place of a random one: a Lathe key, or any text of 16 characters or more.', {
    minLength: 16,
  }),
  LATHE_DATA_DIR: Type.String({
    description: 'Folder of everything kept on this machine: embedded database, blobs, scratch.',
    default: '.lathe',
    minLength: 1,
  }),
  DATABASE_URL: secret('Postgres to use (13 or newer); unset: the embedded one in the data folder.', {
    pattern: '^postgres(ql)?://',
  }),
  REDIS_URL: secret('Redis or Valkey to queue in (6.2 or newer, maxmemory-policy noeviction); unset: Postgres.', {
    pattern: '^rediss?://',
  }),
  S3_BUCKET: text('Bucket for blobs; unset: the data folder. The other S3_* settings need it.'),
  S3_ENDPOINT: text('Endpoint of an S3-compatible store; unset: AWS.', { pattern: '^https?://' }),
  S3_REGION: Type.Optional(Type.String({ description: 'Region; default us-east-1.', minLength: 1 })),
  S3_ACCESS_KEY_ID: secret('Access key; unset: the usual AWS credential chain.'),
  S3_SECRET_ACCESS_KEY: secret('Secret of the access key.'),
  S3_FORCE_PATH_STYLE: Type.Optional(
    Type.Boolean({ description: 'Bucket in the path instead of the host name; default true with S3_ENDPOINT.' }),
  ),
  LATHE_EGRESS_ALLOW: text(
    'Addresses in private networks that webhooks may call in spite of the guard: CIDR or host:port, comma separated.',
  ),
  LATHE_LOG_LEVEL: choice('Least severe level that is logged.', 'info', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
  LATHE_LOG_FORMAT: choice('json for machines, text for people; auto: text on a terminal.', 'auto', ['auto', 'json', 'text']),
  LATHE_SHUTDOWN_GRACE_SECONDS: count('How long a stopping process may take to finish what it has begun.', 30, { maximum: 3600 }),
  LATHE_UPLOAD_MAX_BYTES: count('Largest model or data set accepted.', 8 * 1024 * MEBIBYTE),
  LATHE_MIN_FREE_DISK_BYTES: count('Uploads that would leave less free space than this are refused.', 512 * MEBIBYTE, { minimum: 0 }),
  LATHE_RATE_LIMIT_PER_MINUTE: count('Requests per minute and API key.', 12_000),
  LATHE_WORKER_CONCURRENCY: count('Jobs run at the same time by one worker; the CPU threads are shared out among them.', 1, {
    maximum: 256,
  }),
  LATHE_JOB_MEMORY_MB: count('Resident memory above which the process of a job is ended as out_of_memory.', 8192, { minimum: 128 }),
  LATHE_JOB_TIMEOUT_SECONDS: count('Run time after which a job ends as timeout, unless it names its own limit.', 6 * 3600),
  LATHE_JOB_LEASE_MS: count('How long a claimed job belongs to a worker that has fallen silent.', 20_000, { minimum: 100 }),
  LATHE_JOB_HEARTBEAT_MS: count('How often a worker renews its lease and looks for a cancellation.', 5_000, { minimum: 20 }),
  LATHE_JOB_CANCEL_GRACE_MS: count('How long a cancelled job may take to stop by itself before it is killed.', 10_000, { minimum: 0 }),
  LATHE_OUTBOX_POLL_MS: count('How often messages that no notification announced are looked for.', 2_000, { minimum: 20 }),
  LATHE_RECONCILE_INTERVAL_MS: count('How often lost work is looked for and put back.', 10_000, { minimum: 50 }),
  LATHE_QUEUE_PREFIX: Type.String({
    description: 'Prefix of all keys in Redis, so that installations can share one.',
    default: 'lathe',
    pattern: '^[A-Za-z0-9_-]{1,64}$',
  }),
  LATHE_QUEUE_LOCK_MS: count('How long a queue entry stays with a consumer that has fallen silent.', 60_000, { minimum: 500 }),
  LATHE_QUEUE_STALLED_MS: count('How often entries of silent consumers are looked for.', 30_000, { minimum: 100 }),
  LATHE_WEBHOOK_CONCURRENCY: count('Webhook calls made at the same time by one process.', 8, { maximum: 1000 }),
  LATHE_WEBHOOK_TIMEOUT_MS: count('Time a webhook receiver has to answer.', 15_000, { minimum: 50 }),
  LATHE_WEBHOOK_RETRY_SECONDS: Type.String({
    description: 'Waiting time before each attempt of a webhook delivery, comma separated; the first is the first attempt.',
    default: '0,5,60,300,1800,7200,18000,36000,50400,72000,86400',
    pattern: '^\\d+(\\.\\d+)?(,\\d+(\\.\\d+)?)*$',
  }),
  LATHE_WEBHOOK_DISABLE_AFTER_HOURS: Type.Number({
    description: 'An endpoint that has only failed for this long is disabled.',
    default: 120,
    exclusiveMinimum: 0,
  }),
});

export type Environment = Static<typeof environmentSchema>;
export type EnvironmentKey = keyof Environment;

export interface SettingDescription {
  readonly key: string;
  /** 'integer', 'string', 'boolean', 'number' or the allowed values joined by ' | '. */
  readonly type: string;
  /** Empty when there is none. */
  readonly default: string;
  readonly secret: boolean;
  readonly description: string;
}

/** Every setting in the order of the schema: the source of the reference table in docs. */
export function describeConfig(): SettingDescription[] {
  return Object.entries(environmentSchema.properties).map(([key, schema]) => {
    const facts = schema as { type?: string; enum?: readonly string[]; default?: unknown; secret?: boolean; description?: string };
    return {
      key,
      type: facts.enum?.join(' | ') ?? facts.type ?? 'string',
      default: facts.default === undefined ? '' : String(facts.default),
      secret: facts.secret === true,
      description: facts.description ?? '',
    };
  });
}
