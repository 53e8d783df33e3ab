/** The embedded database of a data folder, shared by every process that uses it: whoever comes first starts it, the last one stops it. */
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DatabaseServerError } from './database-server-errors.js';
import { findPostgresBinaries } from './postgres-binaries.js';
import {
  answers,
  connectionUrl,
  findRunning,
  logTail,
  openCluster,
  type PostgresCluster,
  type RunningServer,
  startServer,
  stopServer,
} from './postgres-cluster.js';

/** Held (shared) by each user for as long as it uses the server; who gets it exclusively is the last. */
const USERS_LOCK = 0x6c_61_74_68;
const READY_DEADLINE_MS = 90_000;

export interface EmbeddedPostgresOptions {
  /** LATHE_DATA_DIR; the cluster lies in its folder `postgres`. */
  readonly dataDir: string;
  /** Default 'lathe'; created when missing. */
  readonly database?: string;
  /** Default true. False gives up crash safety for speed: test servers only. */
  readonly durable?: boolean;
  /** Called when the server went away while in use; it is being started again on the same port. */
  readonly onLost?: (reason: Error) => void;
  /** Called when it could not be started again. */
  readonly onFailed?: (error: Error) => void;
}

export interface EmbeddedPostgres {
  readonly url: string;
  /** Whether this call started the server (false: it ran already). */
  readonly started: boolean;
  /** Ends this use; stops the server when nobody else uses it. */
  release(): Promise<void>;
}

/** Starts the embedded Postgres of the data folder, or attaches when it runs. Throws DatabaseServerError. */
export async function useEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const binaries = await findPostgresBinaries();
  const cluster = await openCluster(path.join(options.dataDir, 'postgres'), binaries, options.durable ?? true);
  const use = new ServerUse(cluster, options);
  const { started, port } = await use.begin(undefined);
  const database = options.database ?? 'lathe';
  await createDatabase(connectionUrl(cluster, port, 'postgres'), database);
  return { url: connectionUrl(cluster, port, database), started, release: () => use.end() };
}

class ServerUse {
  private holder: pg.Client | undefined;
  private recovery: Promise<unknown> | undefined;
  private ended = false;

  constructor(
    private readonly cluster: PostgresCluster,
    private readonly options: EmbeddedPostgresOptions,
  ) {}

  /** Makes the server answer and registers as its user; repeats when it goes down in between. */
  async begin(preferredPort: number | undefined): Promise<{ started: boolean; port: number }> {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (Date.now() < deadline && !this.ended) {
      const server = await attachOrStart(this.cluster, preferredPort);
      const holder = server && (await holdUsersLock(connectionUrl(this.cluster, server.port, 'postgres')));
      if (server && holder) {
        this.watch(holder, server.port);
        return server;
      }
      await delay(100);
    }
    throw new DatabaseServerError(`The embedded Postgres does not become ready. ${await logTail(this.cluster)}`);
  }

  private watch(holder: pg.Client, port: number): void {
    this.holder = holder;
    let reason = new Error('the connection was closed');
    holder.on('error', (error) => {
      reason = error;
    });
    holder.once('end', () => {
      if (this.ended || this.holder !== holder) return;
      this.options.onLost?.(reason);
      this.recovery = this.begin(port).catch((error: unknown) => {
        if (!this.ended) this.options.onFailed?.(error instanceof Error ? error : new Error(String(error)));
      });
    });
  }

  async end(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await this.recovery;
    // Unlocked first: the lock of a connection that is only closed lives on for a moment.
    await this.holder?.query('SELECT pg_advisory_unlock_shared($1)', [USERS_LOCK]).catch(() => undefined);
    await this.holder?.end().catch(() => undefined);
    await stopUnlessUsed(this.cluster);
  }
}

/** The lock is held until the server is gone: who comes in between waits, fails with it, and starts it again. */
async function stopUnlessUsed(cluster: PostgresCluster): Promise<void> {
  const running = findRunning(cluster);
  if (!running) return;
  const client = new pg.Client({ connectionString: connectionUrl(cluster, running.port, 'postgres'), connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    if (await becomeLast(client)) await stopServer(cluster);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** False also when the server is going down already: then somebody else is the last. */
async function becomeLast(client: pg.Client): Promise<boolean> {
  try {
    await client.connect();
    const { rows } = await client.query<{ unused: boolean }>('SELECT pg_try_advisory_lock($1) AS unused', [USERS_LOCK]);
    return rows[0]?.unused === true;
  } catch {
    return false;
  }
}

async function attachOrStart(
  cluster: PostgresCluster,
  port: number | undefined,
): Promise<(RunningServer & { started: boolean }) | undefined> {
  const running = findRunning(cluster);
  if (running) return (await answers(cluster, running.port)) ? { ...running, started: false } : undefined;
  const fresh = await startServer(cluster, port);
  return fresh && { ...fresh, started: true };
}

async function holdUsersLock(url: string): Promise<pg.Client | undefined> {
  const client = new pg.Client({ connectionString: url, application_name: 'lathe-user', connectionTimeoutMillis: 5_000, keepAlive: true });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('SELECT pg_advisory_lock_shared($1)', [USERS_LOCK]);
    return client;
  } catch {
    await client.end().catch(() => undefined);
    return undefined;
  }
}

async function createDatabase(url: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${client.escapeIdentifier(name)}`).catch(ignoreDuplicateDatabase);
  } finally {
    await client.end();
  }
}

/** Another process was faster: 42P04 duplicate_database, or 23505 from the catalogue's unique index. */
function ignoreDuplicateDatabase(error: unknown): void {
  const code = error instanceof pg.DatabaseError ? error.code : undefined;
  if (code !== '42P04' && code !== '23505') throw error;
}
