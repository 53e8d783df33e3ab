/** The releases of onnxruntime-node that conformance is tested on: the installed one, and 1.24.3 where LATHE_TEST_ORT_1_24 names its folder. */
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Model } from '../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../services/engine/onnx/index.js';

export type Level = 'disabled' | 'basic' | 'extended' | 'all';
export type Elements = Float32Array | Uint8Array | Int8Array | Int32Array | BigInt64Array;

export interface Feed {
  readonly name: string;
  readonly type: string;
  readonly data: Elements;
  readonly dims: readonly number[];
}

interface Reply {
  readonly id: number;
  readonly outputs?: readonly Feed[];
  readonly error?: string;
}

export class OrtRelease {
  private readonly folder = mkdtempSync(join(tmpdir(), 'lathe-ort-'));
  private readonly waiting = new Map<number, (reply: Reply) => void>();
  private count = 0;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (reply: Reply) => this.waiting.get(reply.id)?.(reply));
    child.once('exit', () => {
      for (const [id, settle] of this.waiting) settle({ id, error: 'the process of the runtime ended' });
    });
  }

  static async start(packageFolder: string): Promise<OrtRelease> {
    const program = fileURLToPath(new URL('./programs/ort-release.mjs', import.meta.url));
    const release = new OrtRelease(fork(program, [packageFolder], { serialization: 'advanced', execArgv: [] }));
    await new Promise<Reply>((resolve) => release.waiting.set(0, resolve));
    return release;
  }

  /** Outputs of one run. Throws what the runtime says when it refuses to load or run. */
  async run(
    model: Model,
    feeds: readonly Feed[],
    { level = 'all', config = {} }: { level?: Level; config?: Record<string, string> } = {},
  ): Promise<readonly Feed[]> {
    const { outputs } = await this.ask(model, { level, config, feeds });
    return outputs ?? [];
  }

  /** Operators of the graph at level 'extended', "domain:" before those that are not ONNX's own. */
  async operators(model: Model, config: Record<string, string> = {}): Promise<Readonly<Record<string, number>>> {
    const optimizedPath = join(this.folder, `${randomUUID()}.onnx`);
    await this.ask(model, { level: 'extended', config, optimizedPath });
    const counts: Record<string, number> = {};
    for (const { domain, opType } of decodeModelFile(optimizedPath).graph.nodes) {
      const name = domain ? `${domain}:${opType}` : opType;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  close(): void {
    this.child.disconnect();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async ask(model: Model, request: object): Promise<Reply> {
    const path = join(this.folder, `${randomUUID()}.onnx`);
    encodeModelFile(model, path);
    this.count += 1;
    const id = this.count;
    const reply = await new Promise<Reply>((resolve) => {
      this.waiting.set(id, resolve);
      this.child.send({ id, path, ...request });
    });
    this.waiting.delete(id);
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }
}

const installed = join(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'), '..');
const releases = { '1.30': installed, '1.24': process.env.LATHE_TEST_ORT_1_24 } as const;
export type ReleaseName = keyof typeof releases;

/** Declares `tests` once for each release; one that is not installed is skipped. `runtime()` may be called inside tests only. */
export function onEachRelease(tests: (runtime: () => OrtRelease, name: ReleaseName) => void): void {
  for (const name of Object.keys(releases) as ReleaseName[]) {
    const folder = releases[name];
    describe.skipIf(!folder)(`onnxruntime ${name}`, () => {
      let release: OrtRelease | undefined;
      beforeAll(async () => {
        release = await OrtRelease.start(folder ?? '');
      });
      afterAll(() => release?.close());
      tests(() => {
        if (!release) throw new Error('the runtime is started before the tests');
        return release;
      }, name);
    });
  }
}

/** Standard-like noise in [-3, 3] for float inputs, 0 to 9 for integers; symbolic sizes are 3. */
export function feedsFor(model: Model, seed = 1): Feed[] {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return model.graph.inputs.map(({ name, type }) => {
    if (type?.kind !== 'tensor') throw new Error(`"${name}" is no tensor`);
    const dims = (type.shape ?? []).map((size) => (typeof size === 'number' ? size : 3));
    const length = dims.reduce((a, b) => a * b, 1);
    if (type.dataType === 'int64')
      return { name, type: 'int64', dims, data: BigInt64Array.from({ length }, () => BigInt(Math.floor(10 * next()))) };
    return { name, type: 'float32', dims, data: Float32Array.from({ length }, () => 6 * next() - 3) };
  });
}

/** Largest absolute difference of any output. */
export function distance(a: readonly Feed[], b: readonly Feed[]): number {
  let largest = 0;
  for (const [at, { data }] of a.entries()) {
    const other = b[at]?.data;
    if (other?.length !== data.length) return Number.POSITIVE_INFINITY;
    for (let index = 0; index < data.length; index += 1) largest = Math.max(largest, Math.abs(Number(data[index]) - Number(other[index])));
  }
  return largest;
}
