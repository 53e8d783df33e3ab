/** From environment variables to Config: types, ranges and combinations are checked together and every fault is listed at once. */
import { isIP } from 'node:net';
import path from 'node:path';
import Value from 'typebox/value';
import type { Config, EgressRule, StorageConfig } from './config.js';
import { describeConfig, type Environment, environmentSchema } from './environment-schema.js';

/** The configuration cannot be used. `message` names every fault, one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly faults: readonly string[]) {
    super(
      `The configuration has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`,
    );
  }
}

type Variables = Readonly<Record<string, string | undefined>>;
const settings = new Map(describeConfig().map((setting) => [setting.key, setting]));

/** Parses `variables` (as in process.env; an empty value counts as unset). Throws ConfigError. */
export function parseConfig(variables: Variables, workingDirectory: string): Config {
  const faults = findUnknownKeys(variables);
  const given = Object.fromEntries(
    Object.entries(variables).filter(([key, value]) => settings.has(key) && value !== undefined && value !== ''),
  );
  const environment = Value.Default(environmentSchema, Value.Convert(environmentSchema, { ...given }));
  for (const error of Value.Errors(environmentSchema, environment)) faults.push(describeFault(error, given));
  if (faults.length > 0 && !Value.Check(environmentSchema, environment)) throw new ConfigError([...new Set(faults)]);
  const parsed = Value.Parse(environmentSchema, environment);
  faults.push(...findContradictions(parsed));
  const { rules, faults: egressFaults } = parseEgressRules(parsed.LATHE_EGRESS_ALLOW ?? '');
  faults.push(...egressFaults);
  if (faults.length > 0) throw new ConfigError(faults);
  return deepFreeze(assemble(parsed, rules, workingDirectory));
}

/** Kubernetes announces every service in variables like LATHE_API_SERVICE_HOST and LATHE_API_PORT=tcp://...; those are not ours. */
function isServiceLink(key: string, value: string): boolean {
  return /_SERVICE_(HOST|PORT)(_|$)/.test(key) || /_PORT_\d+_(TCP|UDP)/.test(key) || /^(tcp|udp):\/\//.test(value);
}

/** LATHE_TEST_* and LATHE_DATA belong to the test suite, which runs the service with its own environment. */
function findUnknownKeys(variables: Variables): string[] {
  return Object.entries(variables)
    .filter(([key]) => key.startsWith('LATHE_') && !settings.has(key) && !key.startsWith('LATHE_TEST_') && key !== 'LATHE_DATA')
    .filter(([key, value]) => !isServiceLink(key, value ?? ''))
    .map(([key]) => {
      const nearest = [...settings.keys()].sort((a, b) => editDistance(a, key) - editDistance(b, key))[0];
      return `${key}: no such setting; did you mean ${nearest}?`;
    });
}

/** Levenshtein distance (V. I. Levenshtein, 1966): d(i,j) = min(d(i-1,j)+1, d(i,j-1)+1, d(i-1,j-1)+[a_i != b_j]). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

function describeFault(
  error: { instancePath: string; message: string; params: object },
  given: Record<string, string | undefined>,
): string {
  const key = error.instancePath.slice(1);
  const setting = settings.get(key);
  const expected = 'allowedValues' in error.params ? `must be one of ${setting?.type}` : error.message;
  const value = setting?.secret ? 'the given value is not shown' : `got ${JSON.stringify(given[key])}`;
  const hint = given[key]?.startsWith('tcp://') ? '; Kubernetes sets this for a service of that name: use enableServiceLinks: false' : '';
  return `${key}: ${expected} (${value})${hint}`;
}

function findContradictions(environment: Environment): string[] {
  const faults: string[] = [];
  const others = ['S3_ENDPOINT', 'S3_REGION', 'S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY', 'S3_FORCE_PATH_STYLE'] as const;
  const stray = others.filter((key) => environment[key] !== undefined);
  if (environment.S3_BUCKET === undefined && stray.length > 0) faults.push(`S3_BUCKET: missing, but ${stray.join(', ')} is set`);
  if ((environment.S3_ACCESS_KEY_ID === undefined) !== (environment.S3_SECRET_ACCESS_KEY === undefined)) {
    faults.push('S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY: set both or neither');
  }
  if (environment.LATHE_JOB_HEARTBEAT_MS * 2 > environment.LATHE_JOB_LEASE_MS) {
    faults.push('LATHE_JOB_HEARTBEAT_MS: must be at most half of LATHE_JOB_LEASE_MS, or healthy jobs lose their lease');
  }
  for (const key of ['LATHE_PUBLIC_URL', 'S3_ENDPOINT', 'DATABASE_URL', 'REDIS_URL'] as const) {
    const value = environment[key];
    if (value !== undefined && !URL.canParse(value)) faults.push(`${key}: not a URL`);
  }
  return faults;
}

function parseEgressRules(list: string): { rules: EgressRule[]; faults: string[] } {
  const rules: EgressRule[] = [];
  const faults: string[] = [];
  for (const entry of list.split(',').map((part) => part.trim())) {
    if (entry === '') continue;
    const rule = parseEgressRule(entry);
    if (rule) rules.push(rule);
    else faults.push(`LATHE_EGRESS_ALLOW: ${JSON.stringify(entry)} is neither a CIDR (10.0.0.0/8) nor host:port (receiver.local:9000)`);
  }
  return { rules, faults };
}

function parseEgressRule(entry: string): EgressRule | undefined {
  const [address = '', bits] = entry.split('/');
  if (bits !== undefined) {
    const family = isIP(address);
    const valid = family !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
    return valid ? { kind: 'cidr', cidr: entry } : undefined;
  }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(entry);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port >= 1 && port <= 65_535 ? { kind: 'host', host: host.toLowerCase(), port } : undefined;
}

function assembleStorage(environment: Environment, dataDir: string): StorageConfig {
  const minFreeBytes = environment.LATHE_MIN_FREE_DISK_BYTES;
  if (environment.S3_BUCKET === undefined) return { kind: 'filesystem', root: path.join(dataDir, 'storage'), minFreeBytes };
  const { S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey, S3_ENDPOINT: endpoint } = environment;
  return {
    kind: 's3',
    bucket: environment.S3_BUCKET,
    region: environment.S3_REGION ?? 'us-east-1',
    ...(endpoint === undefined ? {} : { endpoint }),
    forcePathStyle: environment.S3_FORCE_PATH_STYLE ?? endpoint !== undefined,
    ...(accessKeyId === undefined || secretAccessKey === undefined ? {} : { credentials: { accessKeyId, secretAccessKey } }),
    stagingRoot: path.join(dataDir, 'staging'),
    minFreeBytes,
  };
}

function assemble(environment: Environment, egressAllow: readonly EgressRule[], workingDirectory: string): Config {
  const dataDir = path.resolve(workingDirectory, environment.LATHE_DATA_DIR);
  return {
    role: environment.LATHE_ROLE,
    dataDir,
    ...(environment.LATHE_PUBLIC_URL === undefined ? {} : { publicUrl: environment.LATHE_PUBLIC_URL.replace(/\/+$/, '') }),
    ...(environment.LATHE_API_KEY === undefined ? {} : { firstApiKey: environment.LATHE_API_KEY }),
    ...(environment.DATABASE_URL === undefined ? {} : { databaseUrl: environment.DATABASE_URL }),
    queue: {
      ...(environment.REDIS_URL === undefined ? {} : { redisUrl: environment.REDIS_URL }),
      prefix: environment.LATHE_QUEUE_PREFIX,
      lockMs: environment.LATHE_QUEUE_LOCK_MS,
      stalledMs: environment.LATHE_QUEUE_STALLED_MS,
    },
    storage: assembleStorage(environment, dataDir),
    egressAllow,
    logLevel: environment.LATHE_LOG_LEVEL,
    logFormat: environment.LATHE_LOG_FORMAT,
    shutdownGraceMs: environment.LATHE_SHUTDOWN_GRACE_SECONDS * 1000,
    http: {
      host: environment.LATHE_HOST,
      port: environment.LATHE_PORT,
      uploadMaxBytes: environment.LATHE_UPLOAD_MAX_BYTES,
      rateLimitPerMinute: environment.LATHE_RATE_LIMIT_PER_MINUTE,
    },
    jobs: {
      concurrency: environment.LATHE_WORKER_CONCURRENCY,
      memoryBytes: environment.LATHE_JOB_MEMORY_MB * 1024 * 1024,
      timeoutMs: environment.LATHE_JOB_TIMEOUT_SECONDS * 1000,
      leaseMs: environment.LATHE_JOB_LEASE_MS,
      heartbeatMs: environment.LATHE_JOB_HEARTBEAT_MS,
      cancelGraceMs: environment.LATHE_JOB_CANCEL_GRACE_MS,
      outboxPollMs: environment.LATHE_OUTBOX_POLL_MS,
      reconcileIntervalMs: environment.LATHE_RECONCILE_INTERVAL_MS,
    },
    ...(environment.LATHE_METRICS_PORT === undefined ? {} : { metricsPort: environment.LATHE_METRICS_PORT }),
    webhooks: {
      concurrency: environment.LATHE_WEBHOOK_CONCURRENCY,
      timeoutMs: environment.LATHE_WEBHOOK_TIMEOUT_MS,
      retryDelaysMs: environment.LATHE_WEBHOOK_RETRY_SECONDS.split(',').map((seconds) => Number(seconds) * 1000),
      disableAfterMs: environment.LATHE_WEBHOOK_DISABLE_AFTER_HOURS * 3_600_000,
    },
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const member of Object.values(value)) deepFreeze(member);
    Object.freeze(value);
  }
  return value;
}
