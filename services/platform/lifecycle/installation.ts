/** What must be true before a process may start: a database that answers, with the schema of this release. */
import { type Config, type ConfigWithDatabase, childEnvironment } from '../config/index.js';
import { type EmbeddedPostgres, migrate, useEmbeddedPostgres } from '../database-server/index.js';
import type { Logger } from '../observability/index.js';
import { migrateQueueSchema } from '../queue/index.js';

export interface Installation {
  readonly config: ConfigWithDatabase;
  readonly embedded: boolean;
  /** Stops the embedded database when nobody else uses it. */
  release(): Promise<void>;
}

export interface InstallationOptions {
  readonly logger: Logger;
  /** The embedded database is gone for good. */
  readonly onDatabaseFailed: (error: Error) => void;
}

export async function prepareInstallation(config: Config, { logger, onDatabaseFailed }: InstallationOptions): Promise<Installation> {
  const embedded = config.databaseUrl === undefined ? await startEmbedded(config.dataDir, logger, onDatabaseFailed) : undefined;
  try {
    const databaseUrl = embedded?.url ?? config.databaseUrl ?? '';
    const applied = await migrate({ url: databaseUrl, ...(config.queue.redisUrl === undefined ? { afterwards: migrateQueueSchema } : {}) });
    if (applied.length > 0) logger.info({ migrations: applied }, 'database migrated');
    return { config: { ...config, databaseUrl }, embedded: embedded !== undefined, release: async () => embedded?.release() };
  } catch (error) {
    await embedded?.release();
    throw error;
  }
}

async function startEmbedded(dataDir: string, logger: Logger, onFailed: (error: Error) => void): Promise<EmbeddedPostgres> {
  const onLost = (err: Error) => logger.error({ err }, 'the embedded database went away; starting it again');
  const server = await useEmbeddedPostgres({ dataDir, onLost, onFailed });
  logger.info({ started: server.started }, server.started ? 'embedded database started' : 'attached to the running embedded database');
  return server;
}

/** What a supervised process sees: the database as found. */
export function supervisedEnvironment(config: ConfigWithDatabase, logFormat: 'json' | 'text'): Record<string, string> {
  return childEnvironment({ DATABASE_URL: config.databaseUrl, LATHE_LOG_FORMAT: logFormat });
}
