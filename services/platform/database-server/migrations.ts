/** Brings the schema to this release: the SQL files of prisma/migrations, recorded as `prisma migrate deploy` records them. */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { DatabaseServerError } from './database-server-errors.js';

/** The advisory lock that `prisma migrate deploy` takes, so that it and this runner exclude each other. */
const PRISMA_MIGRATE_LOCK = 72_707_369;

const createLedger = `CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
  id VARCHAR(36) PRIMARY KEY NOT NULL,
  checksum VARCHAR(64) NOT NULL,
  finished_at TIMESTAMPTZ,
  migration_name VARCHAR(255) NOT NULL,
  logs TEXT,
  rolled_back_at TIMESTAMPTZ,
  started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  applied_steps_count INTEGER NOT NULL DEFAULT 0
)`;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

interface LedgerRow {
  readonly migration_name: string;
  readonly checksum: string;
  readonly finished_at: Date | null;
  readonly rolled_back_at: Date | null;
  readonly logs: string | null;
}

export interface MigrateOptions {
  readonly url: string;
  /** Default: prisma/migrations of this package. */
  readonly folder?: string;
  /** Runs on the same connection under the same lock, after our own migrations. */
  readonly afterwards?: (client: pg.Client) => Promise<void>;
}

/**
 * Applies what is missing, in order, and returns the names. Safe to call from many processes at once. Throws DatabaseServerError
 * when an applied migration was edited, when one failed before, or when one fails now.
 */
export async function migrate({ url, folder = findMigrationsFolder(), afterwards }: MigrateOptions): Promise<string[]> {
  const migrations = await readMigrations(folder);
  const client = new pg.Client({ connectionString: url, application_name: 'lathe-migrate', connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect().catch((cause: unknown) => {
    throw new DatabaseServerError(`The database cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  try {
    await client.query('SELECT pg_advisory_lock($1)', [PRISMA_MIGRATE_LOCK]);
    await client.query(createLedger);
    const applied = await applyMissing(client, migrations);
    await afterwards?.(client);
    await client.query('SELECT pg_advisory_unlock($1)', [PRISMA_MIGRATE_LOCK]);
    return applied;
  } finally {
    await client.end();
  }
}

function findMigrationsFolder(): string {
  for (let folder = path.dirname(fileURLToPath(import.meta.url)); ; folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'prisma', 'migrations');
    if (existsSync(candidate)) return candidate;
    if (folder === path.dirname(folder)) throw new DatabaseServerError('The folder prisma/migrations is missing from this installation.');
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(path.join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

async function applyMissing(client: pg.Client, migrations: readonly Migration[]): Promise<string[]> {
  const ledger = await client.query<LedgerRow>(
    'SELECT migration_name, checksum, finished_at, rolled_back_at, logs FROM "_prisma_migrations" WHERE rolled_back_at IS NULL',
  );
  const recorded = new Map(ledger.rows.map((row) => [row.migration_name, row]));
  refuseUnsoundLedger(recorded, migrations);
  const missing = migrations.filter((migration) => !recorded.has(migration.name));
  for (const migration of missing) await applyOne(client, migration);
  return missing.map((migration) => migration.name);
}

function refuseUnsoundLedger(recorded: ReadonlyMap<string, LedgerRow>, migrations: readonly Migration[]): void {
  for (const row of recorded.values()) {
    if (row.finished_at !== null) continue;
    throw new DatabaseServerError(
      `Migration ${row.migration_name} was begun before and did not finish${row.logs ? `: ${row.logs.split('\n')[0]}` : ''}. ` +
        `Look at the database, then mark it: npx prisma migrate resolve --rolled-back ${row.migration_name}`,
    );
  }
  for (const { name, checksum } of migrations) {
    const row = recorded.get(name);
    if (row && row.checksum !== checksum) {
      throw new DatabaseServerError(
        `Migration ${name} was changed after it had been applied to this database. Restore the file; add a new migration instead.`,
      );
    }
  }
}

/** Each migration is one transaction; its row is written before it and completed after it, so that a failure stays on record. */
async function applyOne(client: pg.Client, { name, sql, checksum }: Migration): Promise<void> {
  const id = randomUUID();
  await client.query('INSERT INTO "_prisma_migrations" (id, checksum, migration_name) VALUES ($1, $2, $3)', [id, checksum, name]);
  try {
    await client.query('BEGIN');
    await client.query(sql);
    await client.query('UPDATE "_prisma_migrations" SET finished_at = now(), applied_steps_count = 1 WHERE id = $1', [id]);
    await client.query('COMMIT');
  } catch (cause) {
    await client.query('ROLLBACK');
    const reason = cause instanceof Error ? cause.message : String(cause);
    await client.query('UPDATE "_prisma_migrations" SET logs = $2 WHERE id = $1', [id, reason]);
    throw new DatabaseServerError(`Migration ${name} failed and was rolled back: ${reason}`, { cause });
  }
}
