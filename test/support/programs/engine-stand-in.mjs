/** Stands in for the engine's process: the model file is JSON that says how to behave. Speaks the protocol of engine-protocol.ts. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

let stopping = false;
let stopped = () => undefined;
const send = (message) => new Promise((resolve) => process.send(message, resolve));

/** Lasts for `ms`, or until the parent says stop (unless deaf). */
function work(ms, deaf) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    if (!deaf) {
      stopped = () => {
        clearTimeout(timer);
        resolve();
      };
    }
  });
}

const deaths = {
  segfault: () => process.kill(process.pid, 'SIGSEGV'),
  abort: () => process.abort(),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  bug: () => {
    throw new Error('a bug of ours');
  },
  heap: () => {
    console.error('FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory');
    process.abort();
  },
  // Through V8's own limit, with little outside its heap.
  objects: () => {
    const held = [];
    for (;;) held.push(new Array(100_000).fill(held.length + 0.5));
  },
  spin: () => {
    for (;;) Math.random();
  },
  grow: async () => {
    const held = [];
    for (;;) {
      held.push(Buffer.alloc(16 * 1024 * 1024, held.length + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
  },
};

async function run(job) {
  const told = JSON.parse(readFileSync(job.modelPath, 'utf8'));
  // A line per start, so that a test can see how often a job was run and kill the process.
  if (told.journal) appendFileSync(told.journal, `${process.pid} ${job.scratch}\n`);
  await send({ type: 'progress', phase: 'decode', fraction: 0.1, message: 'reading', etaSeconds: null });
  const starts = told.journal ? readFileSync(told.journal, 'utf8').trim().split('\n').length : 1;
  const death = deaths[told.die];
  if (death && starts <= (told.times ?? Number.POSITIVE_INFINITY)) await death();
  if (told.refuse) return send({ type: 'refused', code: told.refuse, message: 'No.', details: { why: 'told' } });
  await send({ type: 'progress', phase: 'measure', fraction: 0.5, message: 'measuring', etaSeconds: 3 });
  await work(told.ms ?? 0, told.deaf);
  if (stopping) return send({ type: 'refused', code: 'canceled', message: 'Stopped.', details: {} });
  const model = path.join(job.outDir, 'model.onnx');
  const data = path.join(job.outDir, 'model.onnx.data');
  const report = path.join(job.outDir, 'report.json');
  const page = path.join(job.outDir, 'report.html');
  writeFileSync(model, `artifact of ${told.name}`);
  writeFileSync(data, 'weights');
  const inputs = [job.calibrationPath, job.evaluationPath].map((file) => (file === null ? null : readFileSync(file, 'utf8')));
  writeFileSync(
    report,
    JSON.stringify({ schema_version: 1, source: { bytes: 100 }, artifact: { bytes: 25 }, size_ratio: 4, inputs, nodes: [] }),
  );
  writeFileSync(page, '<!DOCTYPE html>');
  const gatePassed = told.gate !== false;
  const missed = gatePassed ? [] : [{ check: 'min_speedup', limit: 2, actual: 1.5 }];
  return send({ type: 'finished', gatePassed, modelFiles: [model, data], reportPath: report, htmlReportPath: page, missed });
}

process.on('disconnect', () => process.exit(1));
process.on('SIGTERM', () => (process.env.DEAF ? undefined : process.exit(143)));
process.on('message', (message) => {
  if (message.type === 'stop') {
    stopping = true;
    stopped();
    return;
  }
  run(message).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(70);
    },
  );
});
await send({ type: 'ready' });
