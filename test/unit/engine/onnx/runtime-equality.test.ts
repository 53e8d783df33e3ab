/** Oracle: onnxruntime gives the same outputs, bit for bit, for a model and for what the codec makes of it. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeModel, decodeModelFile, encodeModel, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { branchingModel, denseModel } from './sample-models.js';

const folder = mkdtempSync(join(tmpdir(), 'lathe-equality-'));
afterAll(() => rmSync(folder, { recursive: true }));

type Feeds = Record<string, Tensor>;
const options: InferenceSession.SessionOptions = { graphOptimizationLevel: 'all', intraOpNumThreads: 2, logSeverityLevel: 4 };

/** Deterministic feeds in [-1, 1), every symbolic size `symbolicSize`; undefined when an input is no tensor of numbers. */
function feedsFor(session: InferenceSession, symbolicSize: number): Feeds | undefined {
  const feeds: Feeds = {};
  let seed = 1;
  const next = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  for (const input of session.inputMetadata) {
    if (!input.isTensor) return undefined;
    const dims = input.shape.map((size) => (typeof size === 'number' && size >= 0 ? size : symbolicSize));
    const count = dims.reduce((a, b) => a * b, 1);
    if (input.type === 'float32')
      feeds[input.name] = new Tensor(
        'float32',
        Float32Array.from({ length: count }, () => 2 * next() - 1),
        dims,
      );
    else if (input.type === 'int64')
      feeds[input.name] = new Tensor(
        'int64',
        BigInt64Array.from({ length: count }, () => 1n),
        dims,
      );
    else if (input.type === 'int32')
      feeds[input.name] = new Tensor(
        'int32',
        Int32Array.from({ length: count }, () => 1),
        dims,
      );
    else if (input.type === 'bool')
      feeds[input.name] = new Tensor(
        'bool',
        Uint8Array.from({ length: count }, () => 1),
        dims,
      );
    else return undefined;
  }
  return feeds;
}

/** Outputs as bytes by name; undefined when onnxruntime refuses the file, the feeds or the kind of output. */
async function outputsOf(path: string): Promise<Map<string, Buffer> | undefined> {
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(path, options);
  } catch {
    return undefined;
  }
  try {
    if (session.outputMetadata.some((output) => !output.isTensor)) return undefined;
    for (const symbolicSize of [1, 16, 512]) {
      const feeds = feedsFor(session, symbolicSize);
      if (!feeds) return undefined;
      const results = await session.run(feeds).catch(() => undefined);
      if (results) return new Map(Object.entries(results).map(([name, { data }]) => [name, bytesOf(data)]));
    }
    return undefined;
  } finally {
    await session.release();
  }
}

function bytesOf(data: Tensor.DataType): Buffer {
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.from(JSON.stringify(data));
}

describe.each([
  ['a dense layer', denseModel],
  ['branches that capture outer values', branchingModel],
])('%s', (name, make) => {
  test.each([
    ['in one file', {}],
    ['with external data', { externalThresholdBytes: 0 }],
  ])('%s', async (place, encodeOptions) => {
    const [before, after] = [join(folder, `${name} ${place}.onnx`), join(folder, `${name} ${place} again.onnx`)];
    encodeModelFile(make(), before, encodeOptions);
    encodeModelFile(decodeModelFile(before), after, encodeOptions);
    const outputs = await outputsOf(before);
    expect(outputs?.size).toBe(1);
    expect(await outputsOf(after)).toEqual(outputs);
  });
});

const data = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../../shared/data');

describe.skipIf(!existsSync(data))('real models', () => {
  const files = existsSync(data) ? readdirSync(data, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.onnx')) : [];
  let accepted = 0;

  beforeAll(() => expect(files.length).toBeGreaterThan(50));

  test.each(files)('%s', { timeout: 120_000 }, async (name) => {
    const before = join(data, name);
    const expected = await outputsOf(before);
    if (!expected) return;
    accepted += 1;
    const after = join(folder, basename(name));
    encodeModelFile(decodeModelFile(before), after);
    expect(await outputsOf(after)).toEqual(expected);
    const bytes = encodeModel(decodeModelFile(after));
    expect(Buffer.from(encodeModel(decodeModel(bytes))).equals(bytes)).toBe(true);
  });

  test('most of them ran', () => {
    expect(accepted).toBeGreaterThan(40);
  });
});
