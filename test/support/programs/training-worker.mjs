/** The worker with the real engine as a process of its own that can be killed, with many checkpoints. Prints `ready`. */
const [deps, config] = process.argv.slice(2);
const { startWorker } = await import(deps);
const silent = { info: () => undefined, warn: () => undefined };
const worker = await startWorker(JSON.parse(config), { log: silent, checkpointEveryMs: 100 });
process.on('SIGTERM', () => worker.close().then(() => process.exit(0)));
console.log('ready');
