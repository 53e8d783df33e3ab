/**
 * How fast jobs are accepted and begun: POST /v1/jobs at 100 requests per second while a job runs, then the time from POST to the
 * first progress of the job's own process, one job at a time. The service is the embedded default, from dist.
 * Run: npm run build && node --import tsx bench/api-latency.ts [seconds]
 */
import { cpus, loadavg } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { Agent, request } from 'undici';
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

interface CreateResult {
  /** Milliseconds from the moment a request was due to the end of its answer, sorted. */
  readonly latencies: readonly number[];
  readonly refused: number;
  readonly errors: number;
}

/**
 * One request every 1/rate seconds whatever the answers do (an open loop, timed from when each was due): load generators that send a
 * second's requests in one burst measure the burst. Jobs created here wait in the queue; the worker runs one after the other meanwhile.
 */
async function createUnderLoad(service: RunningService, model: string): Promise<CreateResult> {
  const dispatcher = new Agent({ connections: 50, pipelining: 1 });
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${service.apiKey}` };
  const body = JSON.stringify({ model_id: model, recipe: 'dynamic-int8' });
  const latencies: number[] = [];
  const counts = { refused: 0, errors: 0 };
  const send = async (dueAt: number): Promise<void> => {
    try {
      const answer = await request(`${service.url}/v1/jobs`, { method: 'POST', headers, body, dispatcher });
      await answer.body.dump();
      latencies.push(performance.now() - dueAt);
      if (answer.statusCode !== 202) counts.refused += 1;
    } catch {
      counts.errors += 1;
    }
  };
  const startAt = performance.now();
  const pending: Promise<void>[] = [];
  for (let sent = 0; sent < ratePerSecond * seconds; sent++) {
    const dueAt = startAt + (sent * 1000) / ratePerSecond;
    const wait = dueAt - performance.now();
    if (wait > 0) await setTimeout(wait);
    pending.push(send(dueAt));
  }
  await Promise.all(pending);
  await dispatcher.close();
  return { latencies: latencies.sort((a, b) => a - b), ...counts };
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
  const { latencies, refused, errors } = await createUnderLoad(service, model);
  const at = (share: number) => Math.round((latencies[Math.ceil(latencies.length * share) - 1] ?? Number.NaN) * 10) / 10;
  const startMedianMs = median(starts.map((start) => start.runningMs));
  const result = {
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    load_average: loadavg().map((load) => Math.round(load * 10) / 10),
    create: {
      rate_per_second: ratePerSecond,
      created: latencies.length - refused,
      refused,
      errors,
      p50_ms: at(0.5),
      p90_ms: at(0.9),
      p99_ms: at(0.99),
      max_ms: at(1),
    },
    start: {
      samples: starts.length,
      claimed_median_ms: Math.round(median(starts.map((start) => start.claimedMs))),
      running_median_ms: Math.round(startMedianMs),
    },
    met: { create: at(0.99) < targets.createP99Ms && refused + errors === 0, start: startMedianMs < targets.startMedianMs },
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  await service.dispose();
}
