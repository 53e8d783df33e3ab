/** The worker process: claims compression jobs and runs each in a process of its own. */
import { runProcess } from '#platform/lifecycle';
import { startWorker } from './deps.js';

await runProcess('worker', async ({ config, logger, registry, readiness, onShutdown }) => {
  const worker = await startWorker(config, { log: logger, registry, readiness });
  onShutdown('worker', worker.close);
  return undefined;
});
