/** The import rules of .dependency-cruiser.cjs: each one is seen to fire on a forbidden import put into a copy of the sources. */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);
const rules = (createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as { forbidden: { name: string }[] }).forbidden;

/** Files that exist only so that probes have something to import. */
const targets = ['engine/pipeline', 'worker', 'api/jobs', 'api', 'platform/queue', 'platform/config', 'contracts', 'engine/inspection'];

/** Rule -> [the file that breaks it, what it imports]. */
const probes: Record<string, readonly [file: string, specifier: string]> = {
  'no-cycles': ['services/engine/ops/probe-cycle.ts', './probe-cycle.js'],
  'no-unresolved': ['services/engine/ops/probe-unresolved.ts', './there-is-no-such-file.js'],
  'processes-are-strangers': ['services/api/probe-stranger.ts', '../worker/probe-target.js'],
  'contracts-are-a-leaf': ['services/contracts/probe-leaf.ts', '#platform/db'],
  'platform-knows-only-contracts': ['services/platform/config/probe-knows.ts', '../../engine/pipeline/probe-target.js'],
  'engine-stands-alone': ['services/engine/pipeline/probe-alone.ts', '#contracts'],
  'only-worker-and-cli-compress': ['services/api/probe-compress.ts', '../engine/pipeline/probe-target.js'],
  'only-the-api-inspects': ['services/webhooks/probe-inspects.ts', '../engine/inspection/probe-target.js'],
  'edge-without-runtime': ['services/webhooks/probe-reach.ts', '../engine/runtime/ort-session.js'],
  'cli-needs-no-adapters': ['services/cli/probe-adapter.ts', '#platform/db'],
  'front-door:engine': ['services/worker/probe-door.ts', '../engine/pipeline/probe-target.js'],
  'front-door:contracts': ['services/api/probe-contracts-door.ts', '../contracts/probe-target.js'],
  'front-door:platform-out': ['services/api/probe-platform-door.ts', '../platform/config/probe-target.js'],
  'front-door:platform-in': ['services/platform/db/probe-in.ts', '../config/probe-target.js'],
  'features-are-strangers': ['services/api/models/probe-feature.ts', '../jobs/probe-target.js'],
  'adapters-only-in-deps': ['services/api/probe-deps.ts', '#platform/db'],
  'one-door:fastify': ['services/worker/probe-fastify.ts', 'fastify'],
  'one-door:bullmq': ['services/worker/probe-bullmq.ts', 'bullmq'],
  'one-door:prisma': ['services/worker/probe-prisma.ts', '@prisma/client'],
  'one-door:aws': ['services/worker/probe-aws.ts', '@aws-sdk/client-s3'],
  'one-door:onnxruntime': ['services/engine/pipeline/probe-ort.ts', 'onnxruntime-node'],
  'one-door:protobuf': ['services/engine/ir/probe-protobuf.ts', '@bufbuild/protobuf/wire'],
  'one-door:commander': ['services/worker/probe-commander.ts', 'commander'],
  'prisma-client-stays-home': ['services/platform/queue/probe-client.ts', '../db/generated/client.js'],
  'engine-layer:ir': ['services/engine/ir/probe-layer.ts', '../pipeline/probe-target.js'],
  'engine-layer:onnx': ['services/engine/onnx/probe-layer.ts', '../pipeline/probe-target.js'],
  'engine-layer:ops': ['services/engine/ops/probe-layer.ts', '../pipeline/probe-target.js'],
  'engine-layer:runtime': ['services/engine/runtime/probe-layer.ts', '../pipeline/probe-target.js'],
  'engine-layer:inspection': ['services/engine/inspection/probe-layer.ts', '../runtime/execution-session.js'],
  'engine-layer:passes': ['services/engine/passes/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:calibration': ['services/engine/calibration/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:quantization': ['services/engine/quantization/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:accelerators': ['services/engine/accelerators/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:map-codec': ['services/engine/map-codec/probe-layer.ts', '../ir/index.js'],
  'engine-layer:activation-compression': ['services/engine/activation-compression/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:precision': ['services/engine/precision/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:low-rank': ['services/engine/low-rank/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:sparsity': ['services/engine/sparsity/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:pruning': ['services/engine/pruning/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:autodiff': ['services/engine/autodiff/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:distribution-aware': ['services/engine/distribution-aware/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:qat': ['services/engine/qat/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:training': ['services/engine/training/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:normal-equations': ['services/engine/normal-equations/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:layers': ['services/engine/layers/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:timing': ['services/engine/timing/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:emulation': ['services/engine/emulation/probe-layer.ts', '../pipeline/probe-target.js'],
  'engine-layer:evaluation': ['services/engine/evaluation/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-layer:data': ['services/engine/data/probe-layer.ts', '../runtime/ort-session.js'],
  'engine-core-is-pure': ['services/engine/passes/probe-pure.ts', 'node:fs/promises'],
};
const typeOnly = 'services/api/probe-types.ts';

interface Violation {
  readonly from: string;
  readonly rule: { readonly name: string };
}
let world: string;
let violations: readonly Violation[];

async function put(file: string, text: string): Promise<void> {
  const path = join(world, file);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

describe('import rules', () => {
  beforeAll(async () => {
    world = await mkdtemp(join(tmpdir(), 'lathe-import-rules-'));
    await cp(join(root, 'services'), join(world, 'services'), { recursive: true });
    for (const file of ['package.json', 'tsconfig.json', '.dependency-cruiser.cjs', 'biome.json'])
      await cp(join(root, file), join(world, file));
    await symlink(join(root, 'node_modules'), join(world, 'node_modules'));
    for (const folder of targets) await put(`services/${folder}/probe-target.ts`, 'export const target = 1;\n');
    for (const [file, specifier] of Object.values(probes)) await put(file, `import '${specifier}';\n`);
    await put(typeOnly, "import type { Database } from '#platform/db';\nexport type Probe = Database;\n");

    const depcruise = join(root, 'node_modules/.bin/depcruise');
    const args = ['services', '--config', '.dependency-cruiser.cjs', '--output-type', 'json'];
    const { stdout } = await run(depcruise, args, { cwd: world, maxBuffer: 256 * 1024 * 1024 });
    violations = (JSON.parse(stdout) as { summary: { violations: Violation[] } }).summary.violations;
  });
  afterAll(() => rm(world, { recursive: true, force: true }));

  it('has one probe for every rule', () => {
    expect(Object.keys(probes).sort()).toEqual(rules.map((rule) => rule.name).sort());
  });

  it.each(Object.entries(probes))('%s fires', (name, [file]) => {
    const fired = violations.filter((violation) => violation.from === file).map((violation) => violation.rule.name);
    expect(fired).toContain(name);
  });

  it('lets any file name the types of an adapter', () => {
    expect(violations.filter((violation) => violation.from === typeOnly)).toEqual([]);
  });

  it('lets platform/config alone read process.env', async () => {
    const files = ['services/api/probe-environment.ts', 'services/platform/config/probe-environment.ts'];
    for (const file of files) await put(file, 'export const port = process.env.PORT;\n');
    const lint = ['lint', '--vcs-enabled=false', '--reporter=json', ...files];
    const { stdout } = await run(join(root, 'node_modules/.bin/biome'), lint, { cwd: world }).catch((error: { stdout: string }) => error);
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: { category: string; location: { path: string } }[] };
    const faults = diagnostics.filter(({ category }) => category === 'lint/style/noProcessEnv');
    expect(faults.map(({ location }) => location.path)).toEqual([files[0]]);
  });
});
