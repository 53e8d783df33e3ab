/** The commands in README and the guides: every block behind `<!-- run -->` runs as it stands, against a running service. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningService, repositoryRoot, startService } from '../support/running-service.js';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.js';

const run = promisify(execFile);
const guides = 'docs/guides';
let service: RunningService;
let receiver: WebhookReceiver;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-docs-'));
  receiver = await startWebhookReceiver();
  service = await startService({ LATHE_EGRESS_ALLOW: receiver.address });
  // The commands run outside the repository, where npx would not find `lathe`; the last test runs the real npx.
  await mkdir(join(folder, 'bin'));
  const launcher = join(repositoryRoot, 'services/cli/lathe.mjs');
  await writeFile(join(folder, 'bin/npx'), `#!/bin/sh\n[ "$1" = lathe ] && shift && exec '${process.execPath}' '${launcher}' "$@"\n`, {
    mode: 0o755,
  });
}, 120_000);

afterAll(async () => {
  receiver.close();
  await service.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** All marked blocks of a page as one script, so that a later block can use what an earlier one set. */
function scriptOf(markdown: string): string {
  const blocks = [...markdown.matchAll(/<!-- run -->\n+```sh\n([\s\S]*?)```/g)].map(([, code = '']) => code);
  return ['set -euo pipefail', ...blocks]
    .join('\n')
    .replaceAll('http://127.0.0.1:8080', service.url)
    .replaceAll('http://127.0.0.1:9000/', receiver.url);
}

async function runPage(page: string): Promise<{ cwd: string; stdout: string }> {
  const script = scriptOf(await readFile(join(repositoryRoot, page), 'utf8'));
  const cwd = await mkdtemp(join(folder, 'page-'));
  const env = { ...process.env, LATHE_API_KEY: service.apiKey, PATH: [join(folder, 'bin'), process.env.PATH].join(delimiter) };
  try {
    const { stdout } = await run('bash', ['-c', script], { cwd, env });
    return { cwd, stdout };
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${page} does not run:\n${stdout}\n${stderr}\n${service.output().slice(-4000)}`);
  }
}

describe('the commands of the documentation', () => {
  it('README compresses a model over HTTP and without a server', async () => {
    const { cwd, stdout } = await runPage('README.md');
    expect(stdout).toContain('"state":"succeeded"');
    const original = (await stat(join(cwd, 'sample/model.onnx'))).size;
    const overHttp = (await stat(join(cwd, 'sample/compressed-model.onnx'))).size;
    expect(original / overHttp).toBeGreaterThan(3.5);
    expect((await stat(join(cwd, 'sample/out/model.onnx'))).size).toBeLessThan(original / 3.5);
    const report = JSON.parse(await readFile(join(cwd, 'sample/compressed-report.json'), 'utf8')) as { gate: { passed: boolean } };
    expect(report.gate.passed).toBe(true);
  }, 180_000);

  it('every guide runs', async () => {
    const pages = (await readdir(join(repositoryRoot, guides))).filter((name) => name.endsWith('.md'));
    expect(pages.length).toBeGreaterThan(0);
    for (const page of pages) await runPage(join(guides, page));
  }, 300_000);

  it('npx finds lathe in its own repository, without network', async () => {
    const env = { ...process.env, npm_config_cache: join(folder, 'npm-cache'), npm_config_offline: 'true', npm_config_yes: 'false' };
    const { stdout } = await run('npx', ['lathe', 'methods', '--json'], { cwd: repositoryRoot, env });
    expect(Object.keys((JSON.parse(stdout) as { methods: object }).methods)).toContain('dynamic-int8');
  }, 120_000);
});
