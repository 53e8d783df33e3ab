/** The whole service as a user runs it: `node dist/services/cli/main.js serve` in a data folder of its own, on a free port. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { findFreePort } from './processes.js';
import { waitUntil } from './wait-until.js';

export const repositoryRoot = resolve(import.meta.dirname, '../..');
const READY_TIMEOUT_MS = 90_000;

export interface RunningService {
  readonly url: string;
  readonly apiKey: string;
  readonly dataDir: string;
  /** Process id of the supervisor. */
  readonly pid: number;
  /** All that it has printed so far, both streams. */
  output(): string;
  /** GET, POST ... with the API key. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Sends `signal` and waits for the end; the exit code, or the signal that ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals | null>;
  /** Stops it if it still runs and removes the data folder. */
  dispose(): Promise<void>;
}

/** Starts the service and waits until /readyz says yes. `environment` is added to that of the test. */
export async function startService(environment: Readonly<Record<string, string>> = {}): Promise<RunningService> {
  const dataDir = await mkdtemp(join(tmpdir(), 'lathe-e2e-'));
  const port = await findFreePort();
  const apiKey = randomBytes(24).toString('hex');
  const child = spawn(process.execPath, [join(repositoryRoot, 'dist/services/cli/main.js'), 'serve'], {
    cwd: repositoryRoot,
    // An empty value counts as unset: the service must not find what the developer's environment names.
    env: {
      ...process.env,
      DATABASE_URL: '',
      REDIS_URL: '',
      S3_BUCKET: '',
      LATHE_DATA_DIR: dataDir,
      LATHE_PORT: String(port),
      LATHE_API_KEY: apiKey,
      NODE_OPTIONS: '',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  const url = `http://127.0.0.1:${port}`;
  const service: RunningService = {
    url,
    apiKey,
    dataDir,
    pid: child.pid ?? 0,
    output: () => chunks.join(''),
    fetch: (path, init = {}) => fetch(new URL(path, url), { ...init, headers: { authorization: `Bearer ${apiKey}`, ...init.headers } }),
    stop: (signal = 'SIGINT') => stop(child, signal),
    async dispose() {
      await stop(child, 'SIGINT');
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
  const ready = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}:\n${service.output()}`);
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    return answer?.ok ?? false;
  };
  await waitUntil(ready, { timeoutMs: READY_TIMEOUT_MS, what: () => `the service to become ready; so far:\n${service.output()}` });
  return service;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, 'close');
    child.kill(signal);
    await ended;
  }
  return child.exitCode ?? child.signalCode;
}
