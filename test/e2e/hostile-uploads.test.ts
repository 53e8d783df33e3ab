/** Hostile files: each is accepted, refused with a code, or ends its own job with a code; the service stays as it was. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isErrorCode, isTerminal, type JobState } from '#contracts';
import { hostileModels } from '../support/hostile-models.js';
import { findProcess } from '../support/process-tree.js';
import { type RunningService, repositoryRoot, startService } from '../support/running-service.js';
import { waitUntil } from '../support/wait-until.js';

interface Problem {
  readonly code: string;
  readonly detail: string;
}
interface Job {
  readonly id: string;
  readonly state: JobState;
  readonly error: { readonly code: string } | null;
}

const edgeFolder = resolve(process.env.LATHE_DATA ?? join(repositoryRoot, '../shared/data'), 'onnx-edge');
let service: RunningService;

beforeAll(async () => {
  service = await startService({ LATHE_JOB_MEMORY_MB: '2048', LATHE_WORKER_CONCURRENCY: '2', LATHE_LOG_LEVEL: 'warn' });
}, 120_000);
afterAll(() => service.dispose());

async function json<T>(response: Promise<Response>): Promise<T> {
  return (await (await response).json()) as T;
}

/** Refused with a code, or accepted: then the id of the model. */
async function upload(name: string, bytes: Uint8Array): Promise<string | undefined> {
  const response = await service.fetch(`/v1/models?name=${encodeURIComponent(name)}`, {
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: bytes,
  });
  const body = (await response.json()) as Problem & { readonly id: string };
  if (response.ok) return body.id;
  expect(response.status, `${name}: ${JSON.stringify(body)}`).toBeGreaterThanOrEqual(400);
  expect(response.status, `${name}: ${JSON.stringify(body)}`).toBeLessThan(500);
  expect(isErrorCode(body.code), `${name}: ${body.code}`).toBe(true);
  // An empty body is a fault of the request; whatever has bytes is judged as a model.
  const unspecific = bytes.length === 0 ? ['internal'] : ['internal', 'request_invalid'];
  expect(unspecific, `${name} has a specific code`).not.toContain(body.code);
  expect(body.detail.length).toBeGreaterThan(10);
  return undefined;
}

async function compress(model: string): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ model_id: model, recipe: 'dynamic-int8' });
  return (await json<Job>(service.fetch('/v1/jobs', { method: 'POST', headers, body }))).id;
}

async function ended(jobId: string): Promise<Job> {
  let job = await json<Job>(service.fetch(`/v1/jobs/${jobId}`));
  const finished = async (): Promise<boolean> => {
    job = await json<Job>(service.fetch(`/v1/jobs/${jobId}`));
    return isTerminal(job.state);
  };
  await waitUntil(finished, {
    timeoutMs: 240_000,
    intervalMs: 250,
    what: () => `job ${jobId}: ${JSON.stringify(job)}\n${service.output()}`,
  });
  return job;
}

async function survive(files: Record<string, Uint8Array>): Promise<void> {
  const api = await findProcess(service.pid, 'services/api/main');
  expect(api).toBeDefined();
  const jobs = new Map<string, string>();
  for (const [name, bytes] of Object.entries(files)) {
    const model = await upload(name, bytes);
    if (model !== undefined) jobs.set(name, await compress(model));
  }
  for (const [name, id] of jobs) {
    const job = await ended(id);
    if (job.state === 'succeeded') continue;
    expect(job.state, name).toBe('failed');
    expect(isErrorCode(job.error?.code ?? ''), `${name}: ${job.error?.code}`).toBe(true);
    expect(job.error?.code, `${name} has a specific code`).not.toBe('internal');
  }
  expect(await findProcess(service.pid, 'services/api/main'), 'the API process is still the same').toBe(api);
}

describe('hostile files', () => {
  it('made on the spot: each ends accepted, refused with a code, or as a failed job with a code', () => survive(hostileModels()), 300_000);

  it.skipIf(!existsSync(edgeFolder))(
    'collected from the wild: the same',
    async () => {
      const names = (await readdir(edgeFolder, { recursive: true })).filter((name) => /\.(onnx|ort)$/.test(name));
      expect(names.length).toBeGreaterThan(30);
      await survive(Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(join(edgeFolder, name))]))));
    },
    600_000,
  );

  it('leave no temporary files and no rows but those of accepted models', async () => {
    const { data } = await json<{ data: { sha256: string }[] }>(service.fetch('/v1/models?limit=100'));
    const blobs = await readdir(join(service.dataDir, 'storage/blobs'), { recursive: true, withFileTypes: true });
    const stored = new Set(blobs.filter((entry) => entry.isFile()).map((entry) => entry.name));
    for (const { sha256 } of data) expect(stored).toContain(sha256);
    for (const folder of ['uploads', 'storage/staging', 'scratch']) {
      const path = join(service.dataDir, folder);
      if (existsSync(path)) expect(await readdir(path), folder).toEqual([]);
    }
    const { data: jobs } = await json<{ data: Job[] }>(service.fetch('/v1/jobs?limit=100'));
    expect(jobs.filter(({ state }) => !isTerminal(state))).toEqual([]);
  });
});
