/** One Postgres cluster on disk: created whole or not at all, started, found running, stopped. Knows nothing of who uses it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { minimalEnvironment } from '../config/index.js';
import { DatabaseServerError, waysOut } from './database-server-errors.js';
import { chooseAccount, giveTo, launchAs, type PostgresAccount } from './postgres-account.js';
import type { PostgresBinaries } from './postgres-binaries.js';

const MAJOR_VERSION = '18';
const SUPERUSER = 'lathe';
const START_DEADLINE_MS = 60_000;
const ABANDONED_AFTER_MS = 600_000;

export interface PostgresCluster {
  readonly binaries: PostgresBinaries;
  readonly account: PostgresAccount;
  /** Holds data/, password and server.log. */
  readonly folder: string;
  readonly password: string;
  /** False only for throw-away test servers: nothing is flushed to disk. */
  readonly durable: boolean;
}

/** What postmaster.pid says about a server: written by Postgres itself, so there is no second record that could disagree. */
export interface RunningServer {
  readonly pid: number;
  readonly port: number;
}

/** Opens the cluster in `folder`; creates it when it is missing. Any number of processes may call this at once. */
export async function openCluster(folder: string, binaries: PostgresBinaries, durable: boolean): Promise<PostgresCluster> {
  if ((await readVersion(folder)) === undefined) await createCluster(folder, binaries, durable);
  refuseOtherMajorVersion(folder, await readVersion(folder));
  const password = await readFile(path.join(folder, 'password'), 'utf8');
  return { binaries, account: chooseAccount(path.join(folder, 'data')), folder, password: password.trim(), durable };
}

/** The major version that wrote the cluster; undefined when there is none. */
async function readVersion(folder: string): Promise<string | undefined> {
  try {
    return (await readFile(path.join(folder, 'data', 'PG_VERSION'), 'utf8')).trim();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT') return undefined;
    throw new DatabaseServerError(
      `The embedded database in ${folder} belongs to another account (${String(code)}). Start as that account or as root, or set LATHE_DATA_DIR to another folder.`,
      { cause },
    );
  }
}

/** initdb works in a sibling folder that is renamed when complete, so a killed or beaten start leaves no half cluster. */
async function createCluster(folder: string, binaries: PostgresBinaries, durable: boolean): Promise<void> {
  await mkdir(path.dirname(folder), { recursive: true });
  await removeAbandoned(folder);
  const staging = await mkdtemp(`${folder}.new-`);
  try {
    const account = chooseAccount(folder);
    const passwordFile = path.join(staging, 'password');
    await writeFile(passwordFile, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
    await chmod(staging, 0o700);
    giveTo(account, staging, passwordFile);
    const args = ['-D', path.join(staging, 'data'), `--username=${SUPERUSER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
    // The built-in locale sorts alike on every machine: indexes survive a change of the C library.
    args.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-instructions');
    if (!durable) args.push('--no-sync');
    await runToEnd(account, { program: binaries.initdb, args, folder: staging });
    await rename(staging, folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** What starts that were killed long ago left behind; a running one touches its folder all the time. */
async function removeAbandoned(folder: string): Promise<void> {
  const siblings = (await readdir(path.dirname(folder))).filter((name) => name.startsWith(`${path.basename(folder)}.new-`));
  for (const sibling of siblings.map((name) => path.join(path.dirname(folder), name))) {
    const age =
      Date.now() -
      (await stat(sibling).then(
        ({ mtimeMs }) => mtimeMs,
        () => Date.now(),
      ));
    if (age > ABANDONED_AFTER_MS) await rm(sibling, { recursive: true, force: true });
  }
}

async function runToEnd(account: PostgresAccount, call: { program: string; args: readonly string[]; folder: string }): Promise<void> {
  const launch = launchAs(account, call);
  const child = spawn(launch.command, launch.args, {
    ...launch.options,
    cwd: '/',
    env: minimalEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString('utf8')).slice(-4000);
  });
  const outcome = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code === 0 ? '' : `exit ${code ?? signal}`));
  });
  if (outcome !== '') throw new DatabaseServerError(`${path.basename(call.program)} failed (${outcome}): ${output.trim()}. ${waysOut}`);
}

function refuseOtherMajorVersion(folder: string, version: string | undefined): void {
  if (version === MAJOR_VERSION) return;
  throw new DatabaseServerError(
    `The data in ${folder} was written by Postgres ${version}; this release brings Postgres ${MAJOR_VERSION}, which cannot read it. ` +
      `Dump it with pg_dump of version ${version} and restore into a new data folder, or set DATABASE_URL to a server of version ${version}.`,
  );
}

export function connectionUrl(cluster: PostgresCluster, port: number, database: string): string {
  return `postgresql://${SUPERUSER}:${encodeURIComponent(cluster.password)}@127.0.0.1:${port}/${database}`;
}

/** The server that postmaster.pid names, when that process is alive and is a Postgres on this data. */
export function findRunning(cluster: PostgresCluster): RunningServer | undefined {
  const record = readPidFile(cluster);
  return record && isAlive(record.pid) && isPostgres(record.pid) ? record : undefined;
}

function readPidFile(cluster: PostgresCluster): RunningServer | undefined {
  try {
    const lines = readFileSync(path.join(cluster.folder, 'data', 'postmaster.pid'), 'utf8').split('\n');
    const [pid, port] = [Number(lines[0]), Number(lines[3])];
    return Number.isInteger(pid) && pid > 0 && port > 0 ? { pid, port } : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A process id is used again after a crash or in a fresh container. Where /proc is missing the doubt goes to "it is Postgres". */
function isPostgres(pid: number): boolean {
  try {
    return /postgres/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  } catch {
    return !existsSync('/proc/self/cmdline');
  }
}

/** Resolves when the server answers a query; false when it cannot be reached or is going down. */
export async function answers(cluster: PostgresCluster, port: number): Promise<boolean> {
  const client = new pg.Client({ connectionString: connectionUrl(cluster, port, 'postgres'), connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Starts the server on `port` or a free one. Undefined: it ended again, as when another starter was faster or the port was taken. */
export async function startServer(cluster: PostgresCluster, port: number | undefined): Promise<RunningServer | undefined> {
  const chosen = port ?? (await findFreePort());
  await removeStalePidFile(cluster);
  const child = await spawnServer(cluster, chosen);
  const deadline = Date.now() + START_DEADLINE_MS;
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  while (!ended && Date.now() < deadline) {
    const running = readPidFile(cluster);
    if (running?.port === chosen && (await answers(cluster, chosen))) return running;
    await delay(25);
  }
  if (!ended)
    throw new DatabaseServerError(`The embedded Postgres did not answer within ${START_DEADLINE_MS / 1000} s. ${await logTail(cluster)}`);
  return undefined;
}

/** Postgres ignores a pid file whose process is gone, but not one whose number now belongs to somebody else. */
async function removeStalePidFile(cluster: PostgresCluster): Promise<void> {
  const record = readPidFile(cluster);
  if (record && isAlive(record.pid) && !isPostgres(record.pid))
    await rm(path.join(cluster.folder, 'data', 'postmaster.pid'), { force: true });
}

async function spawnServer(cluster: PostgresCluster, port: number): Promise<ChildProcess> {
  const logFile = path.join(cluster.folder, 'server.log');
  const logSize = await stat(logFile).then(
    ({ size }) => size,
    () => 0,
  );
  const log = openSync(logFile, logSize > 10 * 1024 * 1024 ? 'w' : 'a', 0o600);
  try {
    const args = ['-D', path.join(cluster.folder, 'data'), '-p', String(port), ...serverSettings(cluster.durable)];
    const launch = launchAs(cluster.account, { program: cluster.binaries.postgres, args, folder: path.join(cluster.folder, 'data') });
    // A session of its own: Ctrl-C reaches the whole foreground group, and the database has to be the last to stop.
    const child = spawn(launch.command, launch.args, {
      ...launch.options,
      cwd: '/',
      env: minimalEnvironment(),
      detached: true,
      stdio: ['ignore', log, log],
    });
    child.once('error', () => undefined);
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** Small and quiet, but never less durable than Postgres is by default. */
function serverSettings(durable: boolean): string[] {
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '100',
    shared_buffers: '64MB',
    max_wal_size: '256MB',
    min_wal_size: '32MB',
    wal_level: 'minimal',
    max_wal_senders: '0',
    io_method: 'sync',
    jit: 'off',
    max_parallel_workers_per_gather: '0',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' }),
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Fast shutdown: clients are disconnected, everything committed is kept. Resolves when the server is gone. */
export async function stopServer(cluster: PostgresCluster): Promise<void> {
  const running = findRunning(cluster);
  if (!running) return;
  if (process.platform === 'win32') {
    await runToEnd(cluster.account, {
      program: cluster.binaries.pgCtl,
      args: ['stop', '-m', 'fast', '-D', path.join(cluster.folder, 'data')],
      folder: cluster.folder,
    });
    return;
  }
  process.kill(running.pid, 'SIGINT');
  const deadline = Date.now() + START_DEADLINE_MS;
  while (isAlive(running.pid) && isPostgres(running.pid) && Date.now() < deadline) await delay(20);
}

export async function logTail(cluster: PostgresCluster): Promise<string> {
  const text = await readFile(path.join(cluster.folder, 'server.log'), 'utf8').catch(() => '');
  return `Last lines of ${path.join(cluster.folder, 'server.log')}:\n${text.trim().split('\n').slice(-8).join('\n')}`;
}

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
