/** The service of the demo: a process of its own with a throw-away data folder, like `npm start` in every other respect. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { childEnvironment } from '#platform/config';
import { programFile } from '#platform/programs';

const READY_TIMEOUT_MS = 120_000;

export interface DemoService {
  readonly url: string;
  readonly apiKey: string;
  /** Resolves when /readyz says yes; rejects when the process ends before or takes too long. */
  ready(): Promise<void>;
  /** As Ctrl-C does. Resolves when the process is gone. */
  stop(): Promise<void>;
}

/** `webhookReceiver` is host:port of the one private address that webhooks may call. */
export async function startDemoService(dataDir: string, webhookReceiver: string): Promise<DemoService> {
  const port = await freePort();
  const apiKey = randomBytes(24).toString('hex');
  const environment = childEnvironment({
    LATHE_DATA_DIR: dataDir,
    LATHE_HOST: '127.0.0.1',
    LATHE_PORT: String(port),
    LATHE_API_KEY: apiKey,
    LATHE_EGRESS_ALLOW: webhookReceiver,
    LATHE_LOG_LEVEL: 'warn',
    LATHE_ROLE: 'all',
    // The demo must not touch what the caller's environment names.
    LATHE_PUBLIC_URL: undefined,
    DATABASE_URL: undefined,
    REDIS_URL: undefined,
    S3_BUCKET: undefined,
    S3_ENDPOINT: undefined,
    S3_REGION: undefined,
    S3_ACCESS_KEY_ID: undefined,
    S3_SECRET_ACCESS_KEY: undefined,
    S3_FORCE_PATH_STYLE: undefined,
  });
  const child = spawn(process.execPath, [...process.execArgv, programFile('cli/main'), 'serve'], {
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const ended = once(child, 'exit');
  return {
    url: `http://127.0.0.1:${port}`,
    apiKey,
    ready: () =>
      Promise.race([
        waitUntilReady(`http://127.0.0.1:${port}/readyz`),
        ended.then(() => Promise.reject(new Error('The service ended before it was ready.'))),
      ]),
    async stop() {
      child.kill('SIGINT');
      await ended;
    },
  };
}

async function waitUntilReady(url: string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    const ready = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) return;
    if (Date.now() > deadline) throw new Error('The service did not become ready.');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('There is no free port.');
  return address.port;
}
