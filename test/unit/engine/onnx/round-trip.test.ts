/** Decoding and encoding keep everything a model says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { afterAll, describe, expect, test } from 'vitest';
import { verifyModel } from '../../../../services/engine/ir/index.js';
import { decodeModel, decodeModelFile, encodeModel, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { comparable } from './comparable-model.js';
import { branchingModel, denseModel, kitchenSinkModel } from './sample-models.js';

const folder = mkdtempSync(join(tmpdir(), 'lathe-round-trip-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each([
  ['a dense layer', denseModel],
  ['branches that capture outer values', branchingModel],
  ['every element type, attribute kind, value type, and a function', kitchenSinkModel],
])('%s', (name, make) => {
  test('survives encode and decode unchanged', () => {
    const decoded = decodeModel(encodeModel(make()));
    expect(comparable(decoded)).toEqual(comparable(make()));
    verifyModel(decoded);
  });

  test('encodes to the same bytes each time, in memory and through files', () => {
    const bytes = encodeModel(make());
    const path = join(folder, `${name}.onnx`);
    expect(encodeModelFile(make(), path)).toEqual([{ path, sizeBytes: bytes.length }]);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(Buffer.from(encodeModel(decodeModelFile(path))).equals(bytes)).toBe(true);
  });
});

/** `fields` appended to the message at the path of field numbers below ModelProto (first occurrence of each). */
function appendInside(message: Uint8Array, path: readonly number[], fields: Uint8Array): Uint8Array {
  const [head, ...rest] = path;
  if (head === undefined) return Buffer.concat([message, fields]);
  const writer = new BinaryWriter();
  let at = 0;
  let isDone = false;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const start = at;
    const tag = varint();
    const wireType = tag & 7;
    if (wireType === WireType.LengthDelimited) {
      const length = varint();
      const body = message.subarray(at, at + length);
      at += length;
      if (tag >>> 3 === head && !isDone) {
        isDone = true;
        writer.tag(head, WireType.LengthDelimited).bytes(appendInside(body, rest, fields));
        continue;
      }
    } else if (wireType === WireType.Bit32) at += 4;
    else varint();
    writer.raw(message.subarray(start, at));
  }
  if (!isDone) throw new Error(`no field ${head}`);
  return writer.finish();
}

test.each([
  ['ModelProto', []],
  ['GraphProto', [7]],
  ['NodeProto', [7, 1]],
  ['AttributeProto', [7, 1, 5]],
  ['TensorProto of an attribute', [7, 1, 5, 5]],
  ['TensorProto of an initializer', [7, 5]],
  ['SparseTensorProto', [7, 15]],
  ['ValueInfoProto of an input', [7, 11]],
  ['ValueInfoProto of an output', [7, 12]],
  ['ValueInfoProto of value_info', [7, 13]],
  ['TensorAnnotation', [7, 14]],
  ['TypeProto', [7, 11, 2]],
  ['TypeProto.Tensor', [7, 11, 2, 1]],
  ['TensorShapeProto', [7, 11, 2, 1, 2]],
  ['TensorShapeProto.Dimension', [7, 11, 2, 1, 2, 1]],
  ['FunctionProto', [25]],
])('fields of a future version in %s are written back byte for byte', (_message, path) => {
  const future = new BinaryWriter()
    .tag(999, WireType.LengthDelimited)
    .string('from the future')
    .tag(1000, WireType.Bit64)
    .fixed64(7n)
    .finish();
  const model = kitchenSinkModel();
  // The first attribute must be the one with a tensor for the path to exist.
  const everything = model.graph.nodes[0];
  const tensor = everything?.attributes.get('tensor');
  if (!everything || !tensor) throw new Error('the sample model has changed');
  everything.attributes.clear();
  everything.attributes.set('tensor', tensor);
  const once = encodeModel(decodeModel(appendInside(encodeModel(model), path, future)));
  expect(Buffer.from(once).includes(Buffer.from(future))).toBe(true);
  expect(Buffer.from(encodeModel(decodeModel(once))).equals(once)).toBe(true);
});

describe('tensors that keep elements outside raw_data', () => {
  const tensorWith = (typeCode: number, count: number, data: (writer: BinaryWriter) => void): Uint8Array => {
    const writer = new BinaryWriter().tag(1, WireType.Varint).int64(count).tag(2, WireType.Varint).int32(typeCode);
    data(writer);
    return writer.tag(8, WireType.LengthDelimited).string('extra').finish();
  };
  const decodeInitializer = (tensor: Uint8Array): string => {
    const initializer = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(tensor).finish();
    const { graph } = decodeModel(appendInside(encodeModel(denseModel()), [7], initializer));
    const extra = [...graph.initializers].find(([value]) => value.name === 'extra')?.[1];
    return Buffer.from(extra?.data.read() ?? []).toString('hex');
  };
  const packedInts = (field: number, values: readonly bigint[]) => (writer: BinaryWriter) => {
    writer.tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.int64(value);
    writer.join();
  };

  test.each([
    ['int32_data of int8', 3, 3, packedInts(5, [-1n, 127n, -128n]), 'ff7f80'],
    ['int32_data of float16 (bit patterns)', 10, 2, packedInts(5, [0x3c00n, 0xfc00n]), '003c00fc'],
    ['int32_data of bool', 9, 2, packedInts(5, [1n, 0n]), '0100'],
    ['int32_data of int4 (two in each)', 22, 3, packedInts(5, [0x21n, 0x0fn]), '210f'],
    ['int32_data of int32', 6, 2, packedInts(5, [-2n, 2147483647n]), 'feffffffffffff7f'],
    ['int64_data', 7, 2, packedInts(7, [-1n, 2n ** 62n]), 'ffffffffffffffff0000000000000040'],
    ['uint64_data of uint32', 12, 1, packedInts(11, [4294967295n]), 'ffffffff'],
  ])('%s', (_name, typeCode, count, data, expected) => {
    expect(decodeInitializer(tensorWith(typeCode, count, data))).toBe(expected);
  });

  test('float_data, packed and one by one', () => {
    const packed = (writer: BinaryWriter) => writer.tag(4, WireType.LengthDelimited).fork().float(1).float(-2).join();
    const single = (writer: BinaryWriter) => writer.tag(4, WireType.Bit32).float(1).tag(4, WireType.Bit32).float(-2);
    expect(decodeInitializer(tensorWith(1, 2, packed))).toBe('0000803f000000c0');
    expect(decodeInitializer(tensorWith(1, 2, single))).toBe('0000803f000000c0');
  });

  test('double_data', () => {
    const packed = (writer: BinaryWriter) => writer.tag(10, WireType.LengthDelimited).fork().double(1).join();
    expect(decodeInitializer(tensorWith(11, 1, packed))).toBe('000000000000f03f');
  });
});

test('the source file may be overwritten by its own encoding, and its old weights are then refused instead of misread', () => {
  const path = join(folder, 'overwritten.onnx');
  const model = denseModel();
  const big = new Float32Array(5000).fill(1);
  model.graph.addInitializer('big', {
    dataType: 'float32',
    dims: [5000],
    data: { byteLength: 20_000, read: () => new Uint8Array(big.buffer), chunks: () => [new Uint8Array(big.buffer)] },
  });
  writeFileSync(path, encodeModel(model));
  const before = readFileSync(path);
  const decoded = decodeModelFile(path);
  decoded.docString = 'longer than before, so that offsets move';
  encodeModelFile(decoded, path);
  expect(readFileSync(path).length).toBeGreaterThan(before.length);
  expect(() => encodeModel(decoded)).toThrow(expect.objectContaining({ code: 'external_data_invalid' }));
  const again = decodeModelFile(path);
  expect(Buffer.from([...again.graph.initializers].at(-1)?.[1].data.read() ?? []).equals(Buffer.from(big.buffer))).toBe(true);
});
