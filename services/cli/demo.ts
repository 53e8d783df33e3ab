/** `lathe demo` (npm run demo): the whole product once, on a sample model that it makes itself. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import type { CompressionReport } from '#engine';
import { compressionSummary } from './compression-summary.js';
import { type DemoService, startDemoService } from './demo/demo-service.js';
import { type ServiceClient, serviceClient } from './demo/service-client.js';
import { isAuthentic } from './demo/verify-webhook.js';
import { listenForWebhook, type WebhookListener } from './demo/webhook-listener.js';
import { type SampleFiles, writeSample } from './sample.js';
import { withScratch } from './scratch-folder.js';

const JOB_TIMEOUT_MS = 120_000;

export function demoCommand(): Command {
  return new Command('demo')
    .description('start the service in a throw-away folder, compress a sample model over HTTP, receive the webhook')
    .action(() => withScratch(runDemo));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function runDemo(folder: string): Promise<void> {
  const listener = await listenForWebhook();
  const service = await startDemoService(join(folder, 'data'), listener.address);
  try {
    say('starting the service (embedded Postgres, API, worker, webhooks) ...');
    await service.ready();
    say(`it is ready at ${service.url}\n`);
    await compressSample(await writeSample(join(folder, 'sample')), service, listener);
  } finally {
    listener.close();
    await service.stop();
  }
}

async function compressSample(sample: SampleFiles, service: DemoService, listener: WebhookListener): Promise<void> {
  const client = serviceClient(service.url, service.apiKey);
  const endpoint = (await client.post('/v1/webhook-endpoints', { url: listener.url, events: ['job.succeeded', 'job.failed'] })) as {
    secret: string;
  };
  const model = await client.upload('models', 'sample.onnx', await readFile(sample.model));
  const data = await client.upload('datasets', 'sample.npz', await readFile(sample.data));
  say(`uploaded the sample model (${model}) and its samples (${data})`);
  const request = { model_id: model, recipe: 'dynamic-int8', data: { evaluation_id: data } };
  const job = (await client.post('/v1/jobs', request)) as { id: string };
  say(`created the job ${job.id}: dynamic int8\n`);
  const webhook = await withTimeout(listener.received);
  const authentic = isAuthentic(webhook, endpoint.secret);
  const event = JSON.parse(webhook.body.toString()) as { type: string };
  say(`received the webhook ${event.type} (${webhook.id}), signature ${authentic ? 'valid' : 'NOT VALID'}\n`);
  if (!authentic || event.type !== 'job.succeeded') throw new Error('The demo did not end as it should.');
  say(compressionSummary(await reportOf(job.id, client)));
}

async function reportOf(jobId: string, client: ServiceClient): Promise<CompressionReport> {
  const { data } = (await client.get(`/v1/jobs/${jobId}/artifacts`)) as { data: { role: string; links: { content: string } }[] };
  const report = data.find(({ role }) => role === 'report');
  if (report === undefined) throw new Error('The job has no report.');
  return (await client.get(report.links.content)) as CompressionReport;
}

function withTimeout<T>(promise: Promise<T>): Promise<T> {
  return Promise.race([
    promise,
    new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('No webhook arrived.')), JOB_TIMEOUT_MS).unref();
    }),
  ]);
}
