/** Weights beside the model: read from where they are, written aligned and streamed, and never from outside the folder. */
import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { float32Tensor, type Model, Node, Value } from '../../../../services/engine/ir/index.js';
import {
  decodeModel,
  decodeModelFile,
  encodeModel,
  encodeModelFile,
  externalDataLocations,
} from '../../../../services/engine/onnx/index.js';
import { comparable } from './comparable-model.js';
import { denseModel } from './sample-models.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lathe-external-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** The dense model and two weights of 4,000 and 6,000 bytes, each used. */
function modelWithLargeWeights(): Model {
  const model = denseModel();
  const { graph } = model;
  for (const [name, count] of [
    ['large', 1000],
    ['larger', 1500],
  ] as const) {
    const weight = graph.addInitializer(
      name,
      float32Tensor(
        [count],
        Float32Array.from({ length: count }, (_, i) => i + count),
      ),
    );
    const out = new Value(`${name}_out`, { kind: 'tensor', dataType: 'float32', shape: [count] });
    graph.append(new Node({ opType: 'Relu', inputs: [weight], outputs: [out] }));
    graph.outputs.push(out);
  }
  return model;
}

describe('writing', () => {
  test('above the threshold, tensors of more than 1 KiB go to one data file at offsets of whole pages', () => {
    const path = join(folder, 'model.onnx');
    const files = encodeModelFile(modelWithLargeWeights(), path, { externalThresholdBytes: 5000 });
    expect(files.map((file) => file.path)).toEqual([path, join(folder, 'model.onnx.data')]);
    for (const file of files) expect(statSync(file.path).size).toBe(file.sizeBytes);
    expect(files[1]?.sizeBytes).toBe(4096 + 6000);
    expect(externalDataLocations(path)).toEqual(['model.onnx.data']);
    expect(comparable(decodeModelFile(path))).toEqual(comparable(modelWithLargeWeights()));
    expect(readdirSync(folder).sort()).toEqual(['model.onnx', 'model.onnx.data']);
  });

  test('below the threshold everything is in one file', () => {
    expect(encodeModelFile(modelWithLargeWeights(), join(folder, 'model.onnx'), { externalThresholdBytes: 50_000 })).toHaveLength(1);
  });

  test('tensors that share their bytes are stored once', () => {
    const model = modelWithLargeWeights();
    const large = [...model.graph.initializers].find(([value]) => value.name === 'large')?.[1];
    if (!large) throw new Error('no such weight');
    model.graph.addInitializer('same', large);
    const files = encodeModelFile(model, join(folder, 'model.onnx'), { externalThresholdBytes: 5000 });
    expect(files[1]?.sizeBytes).toBe(4096 + 6000);
  });

  test('a model may be written over the files its weights are read from', () => {
    const path = join(folder, 'model.onnx');
    encodeModelFile(modelWithLargeWeights(), path, { externalThresholdBytes: 5000 });
    const decoded = decodeModelFile(path);
    const large = [...decoded.graph.initializers.keys()].find((value) => value.name === 'large');
    if (large) decoded.graph.initializers.set(large, float32Tensor([2000], new Float32Array(2000)));
    encodeModelFile(decoded, path, { externalThresholdBytes: 5000 });
    const weights = new Map([...decodeModelFile(path).graph.initializers].map(([value, tensor]) => [value.name, tensor]));
    expect(weights.get('large')?.dims).toEqual([2000]);
    expect(weights.get('larger')?.data.read()).toEqual([...modelWithLargeWeights().graph.initializers.values()].at(-1)?.data.read());
  });

  test('a failed write leaves no file behind and the old one untouched', () => {
    const path = join(folder, 'model.onnx');
    writeFileSync(path, 'old');
    const model = denseModel();
    model.graph.addInitializer('broken', {
      dataType: 'uint8',
      dims: [9999],
      data: {
        byteLength: 9999,
        read: () => new Uint8Array(9999),
        chunks: () => {
          throw new Error('disk gone');
        },
      },
    });
    expect(() => encodeModelFile(model, path)).toThrow('disk gone');
    expect(readdirSync(folder)).toEqual(['model.onnx']);
    expect(readFileSync(path, 'utf8')).toBe('old');
  });
});

/** A model whose only initializer, 4 floats, has these external_data entries. */
function modelWithEntries(entries: Record<string, string>): Uint8Array {
  const tensor = new BinaryWriter()
    .tag(1, WireType.Varint)
    .int64(4)
    .tag(2, WireType.Varint)
    .int32(1)
    .tag(8, WireType.LengthDelimited)
    .string('W');
  for (const [key, value] of Object.entries(entries)) {
    tensor
      .tag(13, WireType.LengthDelimited)
      .fork()
      .tag(1, WireType.LengthDelimited)
      .string(key)
      .tag(2, WireType.LengthDelimited)
      .string(value)
      .join();
  }
  const data = tensor.tag(14, WireType.Varint).int32(1).finish();
  const out = new BinaryWriter().tag(1, WireType.LengthDelimited).string('W').finish();
  const graph = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(data).tag(12, WireType.LengthDelimited).bytes(out).finish();
  const opset = new BinaryWriter().tag(2, WireType.Varint).int64(17).finish();
  return new BinaryWriter()
    .tag(1, WireType.Varint)
    .int64(8)
    .tag(7, WireType.LengthDelimited)
    .bytes(graph)
    .tag(8, WireType.LengthDelimited)
    .bytes(opset)
    .finish();
}

describe('reading', () => {
  const write = (entries: Record<string, string>): string => {
    const path = join(folder, 'model.onnx');
    writeFileSync(path, modelWithEntries(entries));
    return path;
  };
  const refused = expect.objectContaining({ code: 'external_data_invalid', message: expect.stringContaining("'W'") });

  test('a range of a file in a folder below is read when needed', () => {
    mkdirSync(join(folder, 'sub'));
    writeFileSync(
      join(folder, 'sub/weights.bin'),
      Uint8Array.from({ length: 32 }, (_, i) => i),
    );
    const model = decodeModelFile(write({ location: 'sub/weights.bin', offset: '8', length: '16' }));
    expect([...model.graph.initializers.values()][0]?.data.read()).toEqual(Uint8Array.from({ length: 16 }, (_, i) => i + 8));
  });

  test.each([
    ['..', { location: '../weights.bin' }],
    ['.. in the middle', { location: 'sub/../../weights.bin' }],
    ['an absolute path', { location: '/etc/hostname' }],
    ['a backslash', { location: 'sub\\weights.bin' }],
    ['a drive letter', { location: 'C:weights.bin' }],
    ['a NUL character', { location: 'weights.bin\0' }],
    ['more than 255 bytes', { location: 'w'.repeat(256) }],
    ['a name that is not in normal form C', { location: 'weights\u0065\u0301.bin' }],
    ['a missing file', { location: 'missing.bin' }],
    ['the folder itself', { location: '.' }],
    ['a folder', { location: 'sub' }],
    ['no location', { offset: '0' }],
    ['an unknown key', { location: 'weights.bin', chmod: '777' }],
    ['a negative offset', { location: 'weights.bin', offset: '-1' }],
    ['an offset that is no number', { location: 'weights.bin', offset: '0x10' }],
    ['an offset beyond 2^53', { location: 'weights.bin', offset: '99999999999999999' }],
    ['a range past the end', { location: 'weights.bin', offset: '17' }],
    ['a length that is not that of the tensor', { location: 'weights.bin', length: '8' }],
  ])('%s is refused', (_name, entries) => {
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'weights.bin'), new Uint8Array(32));
    expect(() => decodeModelFile(write(entries))).toThrow(refused);
  });

  test('a symbolic link out of the folder is refused, one inside it is followed', () => {
    const outside = mkdtempSync(join(tmpdir(), 'lathe-outside-'));
    try {
      writeFileSync(join(outside, 'secret'), new Uint8Array(16));
      writeFileSync(join(folder, 'real.bin'), new Uint8Array(16));
      symlinkSync(join(outside, 'secret'), join(folder, 'weights.bin'));
      expect(() => decodeModelFile(write({ location: 'weights.bin' }))).toThrow(refused);
      symlinkSync('real.bin', join(folder, 'link.bin'));
      expect(decodeModelFile(write({ location: 'link.bin' })).graph.initializers.size).toBe(1);
      symlinkSync(outside, join(folder, 'sub'));
      expect(() => decodeModelFile(write({ location: 'sub/secret' }))).toThrow(refused);
    } finally {
      rmSync(outside, { recursive: true });
    }
  });

  test('a FIFO is refused without waiting for a writer', () => {
    execFileSync('mkfifo', [join(folder, 'weights.bin')]);
    expect(() => decodeModelFile(write({ location: 'weights.bin' }))).toThrow(refused);
  });

  test('a model in memory has no folder, so its external data is refused unless one is named', () => {
    writeFileSync(join(folder, 'weights.bin'), new Uint8Array(16));
    const bytes = modelWithEntries({ location: 'weights.bin' });
    expect(() => decodeModel(bytes)).toThrow(refused);
    expect(decodeModel(bytes, { folder }).graph.initializers.size).toBe(1);
  });

  test('locations are listed without the files, and bad ones are refused all the same', () => {
    expect(externalDataLocations(write({ location: 'sub/weights.bin' }))).toEqual(['sub/weights.bin']);
    expect(() => externalDataLocations(write({ location: '../weights.bin' }))).toThrow(refused);
  });

  test('weights of a file that was replaced after decoding are refused instead of misread', () => {
    writeFileSync(join(folder, 'weights.bin'), new Uint8Array(16));
    const model = decodeModelFile(write({ location: 'weights.bin' }));
    writeFileSync(join(folder, 'other.bin'), new Uint8Array(16).fill(1));
    linkSync(join(folder, 'weights.bin'), join(folder, 'kept.bin'));
    renameSync(join(folder, 'other.bin'), join(folder, 'weights.bin'));
    expect(() => encodeModel(model)).toThrow(expect.objectContaining({ code: 'external_data_invalid' }));
  });
});
