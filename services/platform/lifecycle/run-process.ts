/** The frame of every process: configuration, logs, database, readiness, and an orderly end however the end comes. */
import closeWithGrace from 'close-with-grace';
import { type Config, ConfigError, type ConfigWithDatabase, loadConfig, type ProcessRole } from '../config/index.js';
import { createLogger, createRegistry, type Logger, type Registry } from '../observability/index.js';
import { bannerText } from './banner.js';
import { ensureFirstApiKey } from './first-api-key.js';
import { startHealthServer } from './health-server.js';
import { type Installation, prepareInstallation } from './installation.js';
import { Readiness } from './readiness.js';
import { ShutdownStack } from './shutdown-stack.js';
import { logStartFailure } from './start-failure.js';
import { onStopSignals, stopSignals } from './stop-signals.js';
import { isStopMessage, type ReadyMessage, SUPERVISED_FLAG } from './supervision-protocol.js';

export interface ProcessContext {
  readonly config: ConfigWithDatabase;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly readiness: Readiness;
  /** Registers what to close at the end; the last registered is closed first. */
  onShutdown(name: string, close: () => Promise<unknown>): void;
}

/** Resolves when the process accepts work. The API returns its URL. */
export type StartProcess = (context: ProcessContext) => Promise<{ readonly url?: string } | undefined>;

/** Exit status for a configuration that cannot be used (EX_CONFIG of sysexits.h). */
export const CONFIG_EXIT_CODE = 78;

/** Runs this process as `role` until it is told to stop. Started alone, it also sees to the database. */
export async function runProcess(role: ProcessRole, start: StartProcess): Promise<void> {
  const config = loadConfigOrExit();
  const logger = createLogger({ name: role, level: config.logLevel, format: config.logFormat });
  const stack = new ShutdownStack(logger);
  const readiness = new Readiness();
  const supervised = process.argv.includes(SUPERVISED_FLAG) && process.connected;
  const stop = closeInOrder({ config, logger, stack, readiness, supervised });
  try {
    const installation = supervised ? undefined : await prepareAlone(config, logger, { stack, stop });
    const known = installation?.config ?? { ...config, databaseUrl: config.databaseUrl ?? '' };
    const onShutdown = (name: string, close: () => Promise<unknown>) => stack.push(name, close);
    const apiKey = role === 'api' ? await ensureFirstApiKey(known) : null;
    const registry = createRegistry(role);
    if (role !== 'api' && !supervised && known.metricsPort !== undefined) {
      const health = await startHealthServer({ host: known.http.host, port: known.metricsPort, readiness, registry, logger });
      onShutdown('health server', health.close);
      logger.info({ url: health.url }, 'probes and metrics');
    }
    const started = await start({ config: known, logger, registry, readiness, onShutdown });
    if (readiness.state === 'starting') readiness.state = 'ready';
    logger.info({ url: started?.url }, 'ready');
    announce({ role, url: started?.url, apiKey, installation });
  } catch (err) {
    logStartFailure(logger, err);
    await stack.close();
    process.exit(1);
  }
}

/** Parses the environment; prints every fault and exits when it cannot be used. */
export function loadConfigOrExit(): Config {
  try {
    return loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(CONFIG_EXIT_CODE);
  }
}

async function prepareAlone(config: Config, logger: Logger, ending: { stack: ShutdownStack; stop: () => void }): Promise<Installation> {
  const onDatabaseFailed = (err: Error) => {
    logger.fatal({ err }, 'the embedded database is gone');
    ending.stop();
  };
  const preparing = prepareInstallation(config, { logger, onDatabaseFailed });
  // Registered before it is there: a signal during the start must not leave a database behind.
  ending.stack.push('database server', () =>
    preparing.then(
      (prepared) => prepared.release(),
      () => undefined,
    ),
  );
  return preparing;
}

interface Ending {
  readonly config: Config;
  readonly logger: Logger;
  readonly stack: ShutdownStack;
  readonly readiness: Readiness;
  readonly supervised: boolean;
}

/** Signals, a stop message, a lost supervisor and an uncaught error all end the same way. Returns how to begin it. */
function closeInOrder({ config, logger, stack, readiness, supervised }: Ending): () => void {
  const onTimeout = () => logger.error('grace is over, exiting');
  const graceful = closeWithGrace({ delay: config.shutdownGraceMs, logger: false, skip: [...stopSignals], onTimeout }, async ({ err }) => {
    if (err) logger.fatal({ err }, 'unexpected error, shutting down');
    else logger.info('shutting down');
    readiness.state = 'stopping';
    await stack.close();
  });
  onStopSignals({
    first: () => graceful.close(),
    again: (signal) => {
      logger.error({ signal }, 'second signal, exiting');
      process.exit(1);
    },
    // Ctrl-C and a closed terminal reach all processes; the order of the end is the supervisor's.
    ignored: supervised ? ['SIGINT', 'SIGHUP'] : [],
  });
  if (supervised) {
    process.on('message', (message) => {
      if (isStopMessage(message)) graceful.close();
    });
    process.once('disconnect', () => graceful.close());
  }
  return graceful.close;
}

interface Announcement {
  readonly role: ProcessRole;
  readonly url: string | undefined;
  readonly apiKey: string | null;
  /** Undefined: the supervisor has it, and shows the banner. */
  readonly installation: Installation | undefined;
}

function announce({ role, url, apiKey, installation }: Announcement): void {
  if (installation === undefined) {
    const message: ReadyMessage = { type: 'ready', ...(url === undefined ? {} : { url }), ...(apiKey === null ? {} : { apiKey }) };
    process.send?.(message);
  } else if (url !== undefined) {
    process.stderr.write(bannerText({ url, apiKey, installation, roles: [role] }));
  }
}
