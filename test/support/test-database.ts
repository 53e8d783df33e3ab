/** A fresh database with all migrations for a test file, copied from a template: about 50 ms each after the first. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { migrate, useEmbeddedPostgres } from '#platform/database-server';
import { migrateQueueSchema } from '#platform/queue';

const TEMPLATE = 'lathe_test_template';
const TEMPLATE_LOCK = 7_311_001;

export interface TestDatabase {
  readonly url: string;
  /** Disconnects everyone and removes the database. */
  drop(): Promise<void>;
}

/**
 * Creates a database on LATHE_TEST_DATABASE_URL when that is set, else on the embedded server of this test run.
 * `empty` leaves the migrations out.
 */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const server = await serverUrl();
  const name = `test_${randomBytes(8).toString('hex')}`;
  await withClient(server, async (client) => {
    if (!options.empty) await ensureTemplate(client, server);
    await client.query(`CREATE DATABASE ${name}${options.empty ? '' : ` TEMPLATE ${TEMPLATE}`}`);
  });
  return {
    url: databaseUrl(server, name),
    drop: () => withClient(server, async (client) => void (await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))),
  };
}

let embeddedUrl: Promise<string> | undefined;

function serverUrl(): Promise<string> {
  const given = process.env.LATHE_TEST_DATABASE_URL;
  if (given) return Promise.resolve(given);
  const dataDir = process.env.LATHE_TEST_RUN_DIR;
  if (!dataDir) throw new Error('LATHE_TEST_RUN_DIR is not set: test/support/global-setup.ts did not run');
  // Never released: the server outlives this test file and is stopped by the global set-up.
  embeddedUrl ??= useEmbeddedPostgres({ dataDir, durable: false }).then((server) => server.url);
  return embeddedUrl;
}

/** The template appears under its name only when it is complete. */
async function ensureTemplate(client: pg.Client, server: string): Promise<void> {
  await client.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK]);
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [TEMPLATE]);
    if (rowCount !== 0 && !process.env.LATHE_TEST_DATABASE_URL) return;
    if (rowCount !== 0 && (await isCurrent(server))) return;
    await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE} WITH (FORCE)`);
    await client.query(`DROP DATABASE IF EXISTS ${TEMPLATE}_building WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${TEMPLATE}_building`);
    await migrate({ url: databaseUrl(server, `${TEMPLATE}_building`), afterwards: migrateQueueSchema });
    await client.query(`ALTER DATABASE ${TEMPLATE}_building RENAME TO ${TEMPLATE}`);
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [TEMPLATE_LOCK]);
  }
}

/** A server that outlives the run may hold a template of other migrations. */
async function isCurrent(server: string): Promise<boolean> {
  try {
    return (await migrate({ url: databaseUrl(server, TEMPLATE) })).length === 0;
  } catch {
    return false;
  }
}

function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
