/** The worker as a process of its own that can be killed; its jobs run in the stand-in engine. Prints `ready`. */
import { fileURLToPath } from 'node:url';

const [deps, config] = process.argv.slice(2);
const { startWorker } = await import(deps);
const silent = { info: () => undefined, warn: () => undefined };
const entry = fileURLToPath(new URL('./engine-stand-in.mjs', import.meta.url));
const worker = await startWorker(JSON.parse(config), { log: silent, engine: { entry, execArgv: [] } });
process.on('SIGTERM', () => worker.close().then(() => process.exit(0)));
console.log('ready');
