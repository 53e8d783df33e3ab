/** The whole product as a newcomer meets it: start, upload, compress, receive the webhook, download, stop. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluate } from '#engine';
import { type SampleFiles, writeSample } from '../../services/cli/sample.js';
import { processesOf } from '../support/process-tree.js';
import { isRunning } from '../support/processes.js';
import { type RunningService, startService } from '../support/running-service.js';
import { waitUntil } from '../support/wait-until.js';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.js';

interface Artifact {
  readonly role: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly links: { readonly content: string };
}
interface Measurement {
  readonly bytes: number;
  readonly metrics: { readonly top1: number };
}

let folder: string;
let sample: SampleFiles;
let receiver: WebhookReceiver;
let service: RunningService;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-first-job-'));
  sample = await writeSample(folder);
  receiver = await startWebhookReceiver();
  service = await startService({ LATHE_EGRESS_ALLOW: receiver.address });
}, 120_000);

afterAll(async () => {
  receiver.close();
  await service.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function json<T>(response: Response | Promise<Response>, status: number): Promise<T> {
  const answer = await response;
  const text = await answer.text();
  expect(answer.status, text).toBe(status);
  return JSON.parse(text) as T;
}
const post = (path: string, body: object): Promise<Response> =>
  service.fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
async function upload(path: string, file: string): Promise<string> {
  const body = await readFile(file);
  const answer = service.fetch(path, { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body });
  return (await json<{ id: string }>(answer, 201)).id;
}

describe('the first job', () => {
  let jobId: string;
  let secret: string;

  it('compresses an uploaded model and says so in a webhook that standardwebhooks verifies', async () => {
    secret = (await json<{ secret: string }>(post('/v1/webhook-endpoints', { url: receiver.url, events: ['job.succeeded'] }), 201)).secret;
    const model = await upload('/v1/models?name=sample.onnx', sample.model);
    const data = await upload('/v1/datasets?name=sample.npz', sample.data);
    const created = post('/v1/jobs', { model_id: model, recipe: 'dynamic-int8', data: { evaluation_id: data } });
    jobId = (await json<{ id: string }>(created, 202)).id;

    await waitUntil(() => receiver.deliveries.length > 0, { timeoutMs: 90_000, what: () => `the webhook; so far:\n${service.output()}` });
    const [delivery] = receiver.deliveries;
    const headers = Object.fromEntries(Object.entries(delivery?.headers ?? {}).map(([name, value]) => [name, String(value)]));
    const event = new Webhook(secret).verify(delivery?.body ?? '', headers) as { type: string; data: { job_id: string; state: string } };
    expect(event).toMatchObject({ type: 'job.succeeded', data: { job_id: jobId, state: 'succeeded' } });
    expect(() => new Webhook(secret).verify(`${delivery?.body} `, headers)).toThrow();
  }, 120_000);

  it('hands out artifacts that are what their digests say and a report that says what they are', async () => {
    const { data: artifacts } = await json<{ data: Artifact[] }>(service.fetch(`/v1/jobs/${jobId}/artifacts`), 200);
    expect(artifacts.map(({ role }) => role).sort()).toEqual(['model', 'report', 'report_html']);
    const fileOf: Readonly<Record<string, string>> = { model: 'artifact.onnx', report: 'report.json', report_html: 'report.html' };
    for (const { role, bytes, sha256, links } of artifacts) {
      const content = Buffer.from(await (await service.fetch(links.content)).arrayBuffer());
      expect(content.length).toBe(bytes);
      expect(createHash('sha256').update(content).digest('hex')).toBe(sha256);
      await writeFile(join(folder, fileOf[role] ?? role), content);
    }
    const report = JSON.parse(await readFile(join(folder, 'report.json'), 'utf8')) as {
      source: Measurement;
      artifact: Measurement;
      size_ratio: number;
    };
    const model = await readFile(join(folder, 'artifact.onnx'));
    expect(report.artifact.bytes).toBe(model.length);
    expect(report.size_ratio).toBeCloseTo(report.source.bytes / model.length, 10);
    expect(report.size_ratio).toBeGreaterThan(3.5);

    // Measured again, here, on the bytes that came over HTTP.
    const measured = await evaluate({ modelPath: join(folder, 'artifact.onnx'), dataPath: sample.data, scratch: folder });
    expect(measured.metrics?.top1).toBeCloseTo(report.artifact.metrics.top1, 10);
    expect(Math.abs(report.source.metrics.top1 - report.artifact.metrics.top1)).toBeLessThanOrEqual(0.005);
  });

  it('leaves no temporary files', async () => {
    for (const directory of ['uploads', 'storage/staging']) {
      expect(await readdir(join(service.dataDir, directory)), directory).toEqual([]);
    }
  });

  it('Ctrl-C ends every process in order, with exit code 0', async () => {
    const family = await processesOf(service.pid);
    expect(family.length).toBeGreaterThan(3);
    expect(await service.stop('SIGINT')).toBe(0);
    expect(await processesOf(service.pid)).toEqual([]);
    const gone = (): boolean => !family.some(isRunning);
    await waitUntil(gone, { timeoutMs: 5_000, what: `the end of all of ${family.join(', ')}` });
  }, 60_000);
});
