/** `lathe` as scripts call it: what it writes, what it prints, how it exits. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SampleFiles, writeSample } from '../../services/cli/sample.js';
import { repositoryRoot } from '../support/running-service.js';

interface Ended {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

let folder: string;
let sample: SampleFiles;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-cli-'));
  sample = await writeSample(join(folder, 'sample'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Temporary files of the command go below `folder`, so that a test can see whether any stay. */
function lathe(...args: string[]): Promise<Ended> {
  const command = [join(repositoryRoot, 'services/cli/lathe.mjs'), ...args];
  const env = { ...process.env, TMPDIR: folder };
  return new Promise((resolve) => {
    execFile(process.execPath, command, { env, cwd: folder, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? 'unknown'), stdout, stderr });
    });
  });
}

const recipe = async (name: string, document: object): Promise<string> => {
  const path = join(folder, name);
  await writeFile(path, JSON.stringify(document));
  return path;
};

it('lathe --version tells the version of the package', async () => {
  const { version } = JSON.parse(await readFile(join(repositoryRoot, 'package.json'), 'utf8')) as { version: string };
  expect(await lathe('--version')).toEqual({ code: 0, stdout: `lathe ${version}\n`, stderr: '' });
});

describe('lathe compress', () => {
  it('writes model and report, and with --json prints the report and nothing else', async () => {
    const out = join(folder, 'out');
    const { code, stdout, stderr } = await lathe(
      'compress',
      sample.model,
      '--recipe',
      'dynamic-int8',
      '--eval',
      sample.data,
      '--out',
      out,
      '--json',
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect((await readdir(out)).sort()).toEqual(['model.onnx', 'report.html', 'report.json']);
    const report = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as Record<string, unknown>;
    expect(JSON.parse(stdout)).toEqual(report);
    const measurement = { bytes: expect.any(Number), parameters: expect.any(Number), macs: 398_336, latency_ms: expect.any(Number) };
    expect(report).toMatchObject({
      schema_version: 1,
      source: { ...measurement, metrics: { top1: 0.961 } },
      artifact: { ...measurement, bytes: (await stat(join(out, 'model.onnx'))).size, metrics: { top1: expect.any(Number) } },
      fidelity: {
        sqnr_db: expect.any(Number),
        cosine: expect.any(Number),
        max_abs_error: expect.any(Number),
        top1_agreement: expect.any(Number),
      },
      speedup: expect.any(Number),
      size_ratio: expect.any(Number),
      nodes: expect.any(Array),
      environment: expect.any(Object),
    });
    expect(report.size_ratio).toBeGreaterThan(3.5);
  });

  it('exits with 3 when the gate is missed, says so, and keeps the files', async () => {
    const out = join(folder, 'missed');
    const path = await recipe('strict.json', { steps: [{ method: 'float16-storage' }], gate: { min_size_ratio: 3 } });
    const { code, stdout, stderr } = await lathe('compress', sample.model, '--recipe', path, '--out', out);
    expect(code).toBe(3);
    expect(stderr).toContain('quality gate was missed');
    expect(stdout).toContain('min_size_ratio 3.00');
    expect((await readdir(out)).sort()).toEqual(['model.onnx', 'report.html', 'report.json']);
  });

  it.each([
    ['a preset that does not exist', ['--recipe', 'dynamic-int9'], /no recipe 'dynamic-int9'/],
    ['an option that does not exist', ['--recipe', 'dynamic-int8', '--fast'], /unknown option '--fast'/],
    ['no recipe', [], /--recipe/],
  ])('exits with 2 for %s and writes nothing', async (_, args, message) => {
    const out = join(folder, 'nothing');
    const { code, stdout, stderr } = await lathe('compress', sample.model, ...args, '--out', out);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    await expect(stat(out)).rejects.toThrow();
  });

  it('exits with 1 for a file that is no model; with --json the failure is one document too', async () => {
    const { code, stdout, stderr } = await lathe(
      'compress',
      sample.data,
      '--recipe',
      'clean-up',
      '--out',
      join(folder, 'nothing'),
      '--json',
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/^lathe: /);
    expect(JSON.parse(stdout)).toEqual({ error: { code: 'model_invalid', message: expect.any(String) } });
  });
});

describe('lathe train', () => {
  it('without a recipe trains against labels, and prints the learning curve', async () => {
    const out = join(folder, 'trained');
    const options = ['--data', sample.data, '--checkpoint', join(folder, 'checkpoints'), '--threads', '1', '--out', out];
    const { code, stdout, stderr } = await lathe('train', sample.model, ...options);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/train: cross-entropy, 399,370 parameters, 150 steps/);
    const report = JSON.parse(await readFile(join(out, 'report.json'), 'utf8'));
    expect(report).toMatchObject({ recipe: { steps: [{ method: 'train' }] }, environment: { threads: 1 }, training: [{ resumed_at: 0 }] });
    expect(report.artifact.metrics.top1).toBeGreaterThan(0.99);
    expect(await readdir(join(folder, 'checkpoints')), 'a run that ended leaves no state').toEqual([]);
  }, 90_000);

  it.each([
    ['no data', ['--recipe', 'train'], /--data/],
    ['a recipe that needs a teacher', ['--recipe', 'distill', '--data', 'DATA'], /name the model with --teacher/],
    ['a teacher that nobody follows', ['--data', 'DATA', '--teacher', 'MODEL'], /No step of the recipe learns from --teacher/],
    ['half a thread', ['--data', 'DATA', '--threads', '0.5'], /from 1 to 1024/],
  ])('exits with 2 for %s', async (_, args, message) => {
    const named = args.map((each) => (each === 'DATA' ? sample.data : each === 'MODEL' ? sample.model : each));
    const { code, stderr } = await lathe('train', sample.model, ...named, '--out', join(folder, 'nothing'));
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe('the other commands', () => {
  it('evaluate prints the metrics', async () => {
    const { code, stdout } = await lathe('evaluate', sample.model, '--data', sample.data, '--reference', sample.model, '--json');
    expect(code).toBe(0);
    const perfect = { metrics: { top1: 0.961 }, fidelity: { max_abs_error: 0, top1_agreement: 1 } };
    expect(JSON.parse(stdout)).toMatchObject({ metrics: { top1: 0.961, samples: 1000 }, reference: perfect });
  });

  it('benchmark prints a latency for each model, under the names that it was given', async () => {
    const { code, stdout } = await lathe('benchmark', 'sample/model.onnx', sample.model, '--json');
    expect(code).toBe(0);
    const { models } = JSON.parse(stdout) as { models: { path: string; median_ms: number; p90_ms: number }[] };
    expect(models.map(({ path }) => path)).toEqual(['sample/model.onnx', sample.model]);
    for (const { median_ms, p90_ms } of models) expect(p90_ms).toBeGreaterThanOrEqual(median_ms);
  });

  it('inspect describes the model', async () => {
    const { code, stdout } = await lathe('inspect', sample.model, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ structure: { parameters: 399_370, operators: { Gemm: 3 } }, macs: { total: 398_336 } });
  });

  it('leave no temporary files behind', async () => {
    expect((await readdir(folder)).filter((name) => name.startsWith('lathe-'))).toEqual([]);
  });
});
