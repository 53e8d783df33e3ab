/** Entry of the process of one job: paths come in over IPC, an artifact and a report lie in a folder when it says `finished`. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { compress, EngineError } from '#engine';
import type { ChildMessage, ParentMessage, RunMessage } from './engine-protocol.js';
import { planFromRecipe } from './plan-from-recipe.js';

/**
 * A worker that is killed cannot stop its children, and this thread may be deep in a computation when the IPC channel closes. So a
 * second thread watches who the parent is and ends the process when that changes.
 */
function dieWithParent(): void {
  const watch = `const parent = ${process.ppid}; setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); }, 500);`;
  new Worker(watch, { eval: true, stdin: false }).unref();
  process.on('disconnect', () => process.exit(1));
}

function send(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) throw new Error('This process is started by the worker, never by hand.');
    process.send(message, () => resolve());
  });
}

async function runJob(job: RunMessage, signal: AbortSignal): Promise<ChildMessage> {
  try {
    const result = await compress({
      modelPath: job.modelPath,
      plan: planFromRecipe(job.recipe),
      ...(job.teacherPath === null ? {} : { teacherPath: job.teacherPath }),
      ...(job.calibrationPath === null ? {} : { calibration: job.calibrationPath }),
      ...(job.evaluationPath === null ? {} : { evaluation: job.evaluationPath }),
      outDir: job.outDir,
      scratch: job.scratch,
      calibrationCache: join(job.cacheDir, 'calibration'),
      latencyCache: join(job.cacheDir, 'latency'),
      checkpoints: job.checkpoints,
      ...(job.checkpointEveryMs === null ? {} : { checkpointEveryMs: job.checkpointEveryMs }),
      ...(job.threads === null ? {} : { threads: job.threads }),
      signal,
      onProgress: ({ phase, fraction, message, eta_s }) => void send({ type: 'progress', phase, fraction, message, etaSeconds: eta_s }),
    });
    return {
      type: 'finished',
      gatePassed: result.gatePassed,
      modelFiles: [...result.modelFiles],
      reportPath: result.reportPath,
      htmlReportPath: result.htmlReportPath,
      missed: result.report.gate.checks.filter((check) => !check.passed).map((check) => ({ ...check })),
    };
  } catch (error) {
    if (error instanceof EngineError) return { type: 'refused', code: error.code, message: error.message, details: { ...error.details } };
    throw error;
  }
}

const stop = new AbortController();
let started = false;

process.on('message', (message: ParentMessage) => {
  if (message.type === 'stop') {
    stop.abort(new EngineError('canceled', 'The job was canceled.'));
    if (!started) process.exit(0);
    return;
  }
  started = true;
  runJob(message, stop.signal)
    .then(send)
    .then(
      () => process.exit(0),
      (error: unknown) => {
        // A bug of ours, not a fault of the model: the tail of stderr goes to the log of the worker.
        console.error(error);
        process.exit(70);
      },
    );
});

dieWithParent();
await send({ type: 'ready' });
