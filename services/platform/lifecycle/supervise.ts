/** `npm start`: database, schema, first key, then API, worker and webhooks as processes of their own, kept alive and stopped in order. */
import closeWithGrace from 'close-with-grace';
import type { Config, ProcessRole } from '../config/index.js';
import { createLogger, type Logger, resolveLogFormat } from '../observability/index.js';
import { programFile } from '../programs/index.js';
import { bannerText } from './banner.js';
import { prepareInstallation, supervisedEnvironment } from './installation.js';
import { ManagedProcess } from './managed-process.js';
import { ShutdownStack } from './shutdown-stack.js';
import { logStartFailure } from './start-failure.js';
import { onStopSignals, stopSignals } from './stop-signals.js';

/** In the order of stopping: no new requests, then no new jobs, then no new deliveries. */
const roles: readonly ProcessRole[] = ['api', 'worker', 'webhooks'];

/** A process ends itself when its grace is over; this is for one that cannot even do that. */
const KILL_AFTER_MS = 5_000;

/** Resolves when everything is ready; the process then lives until a signal. */
export async function supervise(config: Config): Promise<void> {
  const logger = createLogger({ name: 'lathe', level: config.logLevel, format: config.logFormat });
  const stack = new ShutdownStack(logger);
  const processes: ManagedProcess[] = [];
  const close = endInOrder({ config, logger, stack, processes });
  try {
    const onDatabaseFailed = (err: Error) => {
      logger.fatal({ err }, 'the embedded database is gone');
      close();
    };
    const preparing = prepareInstallation(config, { logger, onDatabaseFailed });
    // Registered before it is there: a signal during the start must not leave a database behind.
    stack.push('database server', () =>
      preparing.then(
        (prepared) => prepared.release(),
        () => undefined,
      ),
    );
    const installation = await preparing;
    if (stack.closing) return;
    const environment = supervisedEnvironment(installation.config, resolveLogFormat(config.logFormat));
    for (const role of roles) processes.push(new ManagedProcess({ role, main: programFile(`${role}/main`), environment, logger }));
    // Reversed, because the stack closes the last first.
    for (const [index, role] of [...roles.entries()].reverse()) {
      stack.push(role, async () => processes[index]?.stop(config.shutdownGraceMs + KILL_AFTER_MS));
    }
    const [api] = await Promise.all(processes.map((managed) => managed.start()));
    process.stderr.write(bannerText({ url: api?.url ?? '', apiKey: api?.apiKey ?? null, installation, roles }));
  } catch (err) {
    logStartFailure(logger, err);
    await stack.close();
    process.exit(1);
  }
}

interface Supervision {
  readonly config: Config;
  readonly logger: Logger;
  readonly stack: ShutdownStack;
  readonly processes: readonly ManagedProcess[];
}

function endInOrder({ config, logger, stack, processes }: Supervision): () => void {
  const killAll = () => {
    for (const managed of processes) managed.kill();
  };
  // Each process has the grace period to itself, and the database some time after them.
  const delay = (config.shutdownGraceMs + KILL_AFTER_MS) * roles.length + 30_000;
  const ending = { delay, logger: false as const, skip: [...stopSignals], onSecondError: killAll, onTimeout: killAll };
  const graceful = closeWithGrace(ending, async ({ err }) => {
    if (err) logger.fatal({ err }, 'unexpected error, shutting down');
    else logger.info('shutting down');
    await stack.close();
    logger.info('stopped');
  });
  onStopSignals({
    first: () => graceful.close(),
    again: (signal) => {
      logger.error({ signal }, 'second signal, exiting');
      killAll();
      process.exit(1);
    },
  });
  return graceful.close;
}
