/** The entry of `lathe serve` and `npm start`: all processes, or the one that LATHE_ROLE names. */
import { pathToFileURL } from 'node:url';
import { programFile } from '../programs/index.js';
import { loadConfigOrExit } from './run-process.js';
import { supervise } from './supervise.js';

/** Resolves when the service is ready. Exits with status 78 when the configuration cannot be used, 1 when the start fails. */
export async function serve(): Promise<void> {
  const config = loadConfigOrExit();
  if (config.role === 'all') await supervise(config);
  else await import(pathToFileURL(programFile(`${config.role}/main`)).href);
}
