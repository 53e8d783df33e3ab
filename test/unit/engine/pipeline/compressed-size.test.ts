import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compressedBytes } from '../../../../services/engine/pipeline/compressed-size.js';

const never = new AbortController().signal;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-packed-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

describe('compressedBytes', () => {
  it('is the size of the gzip files that a person would make of the model and its external data', async () => {
    const weights = Uint8Array.from({ length: 300_000 }, (_, at) => (at % 3 === 0 ? (Math.imul(at, 2_654_435_761) >>> 24) & 255 : 0));
    const graph = new TextEncoder().encode('graph '.repeat(500));
    const paths = [await file('model.onnx', graph), await file('model.onnx.data', weights)];
    const expected = [graph, weights].map((bytes) => gzipSync(bytes));
    const total = expected.reduce((sum, { length }) => sum + length, 0);
    expect(await compressedBytes({ paths, bytes: graph.length + weights.length, sha256: '' }, never)).toBe(total);
  });

  it('says nothing of models above 256 MiB', async () => {
    const path = await file('large.onnx', Uint8Array.of(1));
    await truncate(path, 256 * 2 ** 20 + 1);
    expect(await compressedBytes({ paths: [path], bytes: 256 * 2 ** 20 + 1, sha256: '' }, never)).toBeNull();
  });

  it('ends when the job is canceled', async () => {
    const path = await file('model.onnx', new Uint8Array(1e6));
    await expect(compressedBytes({ paths: [path], bytes: 1e6, sha256: '' }, AbortSignal.abort())).rejects.toThrow();
  });
});
