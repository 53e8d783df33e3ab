import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { findFreePort, isRunning } from '../../support/processes.js';
import { ServiceProcess } from '../../support/service-process.js';
import { createTestDatabase } from '../../support/test-database.js';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });
const roles = ['api', 'worker', 'webhooks'];
const patient = { timeout: 60_000, interval: 100 };

describe('npm start with nothing set', () => {
  let dataDir: string;
  let port: number;
  let service: ServiceProcess;
  const get = async (route: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${route}`);
    return { status: response.status, body: await response.json() };
  };
  const start = async () => {
    service = await ServiceProcess.spawn({ LATHE_DATA_DIR: dataDir, LATHE_PORT: String(port) });
    await service.ready();
  };

  beforeAll(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), 'lathe-serve-'));
    port = await findFreePort();
    await start();
  });
  afterAll(async () => {
    service.child.kill('SIGTERM');
    await service.exited;
    await rm(dataDir, { recursive: true, force: true });
  });

  it('prints where it is, a first key that works, and what it runs on', async () => {
    expect(service.messages).toContain(`URL      http://127.0.0.1:${port}\n`);
    expect(service.messages).toContain(`Docs     http://127.0.0.1:${port}/docs\n`);
    expect(service.messages).toContain(dataDir);
    expect(service.messages).toContain('api + worker + webhooks; database embedded, queue Postgres, blobs this machine');
    const key = /API key\s+(\S+)/.exec(service.messages)?.[1];
    const headers = { authorization: `Bearer ${key}` };
    expect((await fetch(`http://127.0.0.1:${port}/v1/jobs`, { headers })).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/v1/jobs`)).status).toBe(401);
    expect(JSON.stringify(service.log)).not.toContain(key);
  });

  it('is ready: the API reaches the database, the queue and the storage', async () => {
    expect(await get('/readyz')).toMatchObject({ status: 200, body: { checks: { database: 'ok', queue: 'ok', storage: 'ok' } } });
  });

  it.skipIf(process.platform !== 'linux')('no process but those of jobs has the native runtime in memory', () => {
    for (const pid of [service.child.pid, ...roles.map((role) => service.pidsOf(role).at(-1))]) {
      const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
      expect(maps).toContain('node');
      expect(maps).not.toContain('onnxruntime');
    }
  });

  it.each(roles)('starts %s again when it is killed', async (role) => {
    const before = service.pidsOf(role);
    process.kill(before.at(-1) ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(service.pidsOf(role)).toHaveLength(before.length + 1), patient);
    expect(service.pidsOf(role).at(-1)).not.toBe(before.at(-1));
    await vi.waitFor(async () => expect((await get('/readyz')).status).toBe(200), patient);
  });

  it('processes end by themselves when the supervisor is killed; the next start takes the database over as it is', async () => {
    const orphans = roles.map((role) => service.pidsOf(role).at(-1) ?? 0);
    service.child.kill('SIGKILL');
    await vi.waitFor(() => expect(orphans.filter(isRunning)).toEqual([]), patient);
    await start();
    expect(service.log).toContainEqual(expect.objectContaining({ name: 'lathe', msg: 'attached to the running embedded database' }));
    expect(service.messages).toContain('API key  made at the first start');
    expect((await get('/readyz')).status).toBe(200);
  });

  it('Ctrl-C under npm, which is two SIGINT, stops API, worker, webhooks and database in this order and leaves no process', async () => {
    const pids = roles.map((role) => service.pidsOf(role).at(-1) ?? 0);
    for (const pid of pids) process.kill(pid, 'SIGINT');
    service.child.kill('SIGINT');
    const shuttingDown = expect.objectContaining({ name: 'lathe', msg: 'shutting down' });
    await vi.waitFor(() => expect(service.log).toContainEqual(shuttingDown), { ...patient, interval: 5 });
    service.child.kill('SIGINT');
    expect(await service.exited).toBe(0);
    const closed = service.log.filter(({ name, msg }) => name === 'lathe' && msg === 'closed').map(({ step }) => step);
    expect(closed).toEqual([...roles, 'database server']);
    expect(pids.filter(isRunning)).toEqual([]);
    expect(existsSync(path.join(dataDir, 'postgres/data/postmaster.pid'))).toBe(false);
  });
});

describe('LATHE_ROLE=api with a database of its own', () => {
  it('runs the API alone, in this one process, brings the schema and takes the given key', async () => {
    const database = await createTestDatabase({ empty: true });
    const port = await findFreePort();
    const key = `key-${'x'.repeat(20)}`;
    const dataDir = await mkdtemp(path.join(tmpdir(), 'lathe-role-'));
    const settings = {
      LATHE_ROLE: 'api',
      DATABASE_URL: database.url,
      LATHE_API_KEY: key,
      LATHE_PORT: String(port),
      LATHE_DATA_DIR: dataDir,
    };
    const service = await ServiceProcess.spawn(settings);
    try {
      await service.ready();
      expect(service.pidsOf('api')).toEqual([service.child.pid]);
      expect(new Set(service.log.map(({ pid }) => pid))).toEqual(new Set([service.child.pid]));
      const headers = { authorization: `Bearer ${key}` };
      expect((await fetch(`http://127.0.0.1:${port}/v1/jobs`, { headers })).status).toBe(200);
      expect(service.messages).toContain('the one in LATHE_API_KEY');
      expect(service.messages).not.toContain(key);
      expect(service.messages).not.toContain(new URL(database.url).password);
      expect(existsSync(path.join(dataDir, 'postgres'))).toBe(false);
      service.child.kill('SIGTERM');
      expect(await service.exited).toBe(0);
    } finally {
      service.child.kill('SIGKILL');
      await service.exited;
      await database.drop();
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

describe('npm start with wrong settings', () => {
  it('starts nothing, lists every fault and ends with status 78', async () => {
    const service = await ServiceProcess.spawn({ LATHE_PORT: 'x', LATHE_ROLE: 'y', LATHE_DATADIR: 'z' });
    expect(await service.exited).toBe(78);
    expect(service.messages).toMatch(
      /3 faults:\n {2}- LATHE_DATADIR: no such setting.*LATHE_DATA_DIR\?\n {2}- LATHE_ROLE: .*\n {2}- LATHE_PORT: /s,
    );
    expect(service.log).toEqual([]);
  });

  it('a database that does not answer is named as the reason, without its password, and ends with status 1', async () => {
    const port = await findFreePort();
    const service = await ServiceProcess.spawn({ DATABASE_URL: `postgresql://lathe:hunter2@127.0.0.1:${port}/lathe` });
    expect(await service.exited).toBe(1);
    expect(service.log[0]?.msg).toMatch(/^could not start: The database cannot be reached: .*ECONNREFUSED/);
    expect(JSON.stringify(service.log)).not.toContain('hunter2');
  });
});
