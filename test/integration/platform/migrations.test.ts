import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrate } from '#platform/database-server';
import { migrateQueueSchema } from '#platform/queue';
import { createTestDatabase, type TestDatabase } from '../../support/test-database.js';

const initial = '20261123000000_initial';
const ours = path.resolve('prisma/migrations');

let database: TestDatabase;
let folder: string;
let client: pg.Client;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  folder = await mkdtemp(path.join(tmpdir(), 'lathe-migrations-'));
  await cp(ours, folder, { recursive: true });
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
afterEach(async () => {
  await client.end();
  await database.drop();
  await rm(folder, { recursive: true });
});

const add = async (name: string, sql: string) => {
  await cp(path.join(folder, initial), path.join(folder, name), { recursive: true });
  await writeFile(path.join(folder, name, 'migration.sql'), sql);
};

describe('migration runner', () => {
  it('four processes that start at once apply each migration exactly once', async () => {
    const runs = await Promise.all([1, 2, 3, 4].map(() => migrate({ url: database.url, afterwards: migrateQueueSchema })));
    const applied = runs.flat();
    expect(applied).toContain(initial);
    expect(new Set(applied).size).toBe(applied.length);
    const { rows } = await client.query('SELECT migration_name, count(*)::int AS n FROM _prisma_migrations GROUP BY 1');
    expect(rows.every((row) => row.n === 1)).toBe(true);
    const bullmq = await client.query("SELECT 1 FROM pg_tables WHERE schemaname = 'bullmq'");
    expect(bullmq.rowCount).toBeGreaterThan(0);
  });

  it('writes the rows that prisma migrate deploy writes', async () => {
    await migrate({ url: database.url, folder });
    const { rows } = await client.query('SELECT * FROM _prisma_migrations WHERE migration_name = $1', [initial]);
    const sql = await readFile(path.join(folder, initial, 'migration.sql'));
    expect(rows).toEqual([
      {
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        checksum: createHash('sha256').update(sql).digest('hex'),
        finished_at: expect.any(Date),
        migration_name: initial,
        logs: null,
        rolled_back_at: null,
        started_at: expect.any(Date),
        applied_steps_count: 1,
      },
    ]);
  });

  it('applies only what is missing on the next start', async () => {
    await migrate({ url: database.url, folder });
    expect(await migrate({ url: database.url, folder })).toEqual([]);
    await add('29990101000000_next', 'CREATE TABLE later (id int);');
    expect(await migrate({ url: database.url, folder })).toEqual(['29990101000000_next']);
  });

  it('refuses a migration that was edited after it had been applied, and says which', async () => {
    await migrate({ url: database.url, folder });
    await writeFile(path.join(folder, initial, 'migration.sql'), 'SELECT 1;');
    await expect(migrate({ url: database.url, folder })).rejects.toThrow(/20261123000000_initial was changed/);
  });

  it('rolls a failing migration back whole, keeps its reason and refuses the next start until it is resolved', async () => {
    await add('29990101000000_bad', 'CREATE TABLE half (id int); SELECT broken;');
    await expect(migrate({ url: database.url, folder })).rejects.toThrow(/29990101000000_bad failed and was rolled back: column "broken"/);
    expect((await client.query("SELECT 1 FROM pg_tables WHERE tablename = 'half'")).rowCount).toBe(0);
    await expect(migrate({ url: database.url, folder })).rejects.toThrow(/29990101000000_bad.*did not finish.*resolve --rolled-back/s);
    await client.query('UPDATE _prisma_migrations SET rolled_back_at = now() WHERE finished_at IS NULL');
    await writeFile(path.join(folder, '29990101000000_bad', 'migration.sql'), 'CREATE TABLE whole (id int);');
    expect(await migrate({ url: database.url, folder })).toEqual(['29990101000000_bad']);
  });
});
