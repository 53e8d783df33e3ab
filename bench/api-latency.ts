/**
 * How fast jobs are accepted and begun: POST /v1/jobs at 100 requests per second while a job runs, then the time from POST to the
 * first progress of the job's own process, one job at a time. The service is the embedded default, from dist.
 * Run: npm run build && node --conditions=source --import tsx bench/api-latency.ts [seconds]
 */
import { cpus, loadavg } from 'node:os';
import autocannon from 'autocannon';
import { encodeModel } from '../services/engine/onnx/index.js';
import { classifier } from '../test/support/build-model.js';
import { type RunningService, startService } from '../test/support/running-service.js';

const ratePerSecond = 100;
const seconds = Number(process.argv[2] ?? 20);
const startSamples = 15;
const targets = { createP99Ms: 50, startMedianMs: 600 };

async function upload(service: RunningService): Promise<string> {
  const body = Buffer.from(encodeModel(classifier({ features: 256, hidden: 1_024 })));
  const response = await service.fetch('/v1/models', { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body });
  return ((await response.json()) as { id: string }).id;
}

/** Jobs that are created here wait in the queue; the worker runs one of them after the other meanwhile. */
function createUnderLoad(service: RunningService, model: string): Promise<autocannon.Result> {
  return autocannon({
    url: `${service.url}/v1/jobs`,
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${service.apiKey}` },
    body: JSON.stringify({ model_id: model, recipe: 'dynamic-int8' }),
    connections: 20,
    overallRate: ratePerSecond,
    duration: seconds,
  });
}

/** Milliseconds from sending POST to the event that the job's own process writes first. */
async function timeToStart(service: RunningService, model: string): Promise<{ claimedMs: number; runningMs: number }> {
  const sentAt = performance.now();
  const body = JSON.stringify({ model_id: model, recipe: 'dynamic-int8', priority: 100 });
  const created = await service.fetch('/v1/jobs', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const { id } = (await created.json()) as { id: string };
  const stream = await service.fetch(`/v1/jobs/${id}/events`, { headers: { accept: 'text/event-stream' } });
  const seen: Partial<Record<string, number>> = {};
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of stream.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    for (const [, type = ''] of text.matchAll(/^event: (\S+)$/gm)) seen[type] ??= performance.now() - sentAt;
  }
  const runningMs = seen['job.progress'] ?? seen['job.succeeded'];
  if (seen['job.started'] === undefined || runningMs === undefined) throw new Error(`job ${id} never ran:\n${text}`);
  return { claimedMs: seen['job.started'], runningMs };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

const service = await startService({ LATHE_RATE_LIMIT_PER_MINUTE: '1000000', LATHE_LOG_LEVEL: 'warn' });
try {
  const model = await upload(service);
  const starts = [];
  for (let sample = 0; sample < startSamples; sample++) starts.push(await timeToStart(service, model));
  const { latency, non2xx, errors, '2xx': created } = await createUnderLoad(service, model);
  const startMedianMs = median(starts.map((start) => start.runningMs));
  const result = {
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    load_average: loadavg().map((load) => Math.round(load * 10) / 10),
    create: {
      rate_per_second: ratePerSecond,
      created,
      refused: non2xx,
      errors,
      p50_ms: latency.p50,
      p97_5_ms: latency.p97_5,
      p99_ms: latency.p99,
      max_ms: latency.max,
    },
    start: {
      samples: starts.length,
      claimed_median_ms: Math.round(median(starts.map((start) => start.claimedMs))),
      running_median_ms: Math.round(startMedianMs),
    },
    met: { create: latency.p99 < targets.createP99Ms && non2xx + errors === 0, start: startMedianMs < targets.startMedianMs },
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  await service.dispose();
}
