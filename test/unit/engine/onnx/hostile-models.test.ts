/** Whatever is sent as a model ends as a Model or an EngineError: no crash, no hang, no allocation by declared sizes. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { EngineError, type EngineErrorCode } from '../../../../services/engine/engine-errors.js';
import { type Attribute, attributeOf, float32Tensor, Graph, Node, Value, verifyModel } from '../../../../services/engine/ir/index.js';
import { decodeModel, decodeModelFile, encodeModel } from '../../../../services/engine/onnx/index.js';
import { branchingModel, denseModel, kitchenSinkModel, modelOf, tensorValue } from './sample-models.js';

const folder = mkdtempSync(join(tmpdir(), 'lathe-hostile-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The code of the EngineError, or 'accepted'; any other error fails the test. Both ways in must agree. */
function outcome(bytes: Uint8Array): EngineErrorCode | 'accepted' {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const results = [() => decodeModel(bytes), () => decodeModelFile(path)].map((decode) => {
    try {
      verifyModel(decode());
      return 'accepted';
    } catch (error) {
      if (error instanceof EngineError) return error.code;
      throw error;
    }
  });
  expect(results[0]).toBe(results[1]);
  return results[0] ?? 'accepted';
}

function messageFor(bytes: Uint8Array): string {
  try {
    decodeModel(bytes);
  } catch (error) {
    if (error instanceof EngineError) return error.message;
    throw error;
  }
  return 'accepted';
}

describe('files that are something else', () => {
  test.each([
    ['an ORT file', Buffer.from('\x20\0\0\0ORTM and more', 'latin1'), /ORT-format/],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n'), /git lfs pull/],
    ['a web page', Buffer.from('<!DOCTYPE html><html></html>'), /web page/],
    ['plain text', Buffer.from('this is not a model'), /text file/],
    ['a zip archive', Buffer.from('PK\x03\x04rest'), /zip/],
    ['a gzip file', Buffer.from([0x1f, 0x8b, 8, 0]), /gzip/],
    ['a Keras file', Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), /Keras/],
    ['a TensorFlow Lite model', Buffer.from('\x1c\0\0\0TFL3', 'latin1'), /TensorFlow Lite/],
    ['nothing', new Uint8Array(0), /empty/],
    ['zeros', new Uint8Array(1000), /cut off or damaged/],
  ])('%s is named for what it is', (_name, bytes, message) => {
    expect(outcome(bytes)).toBe('model_invalid');
    expect(messageFor(bytes)).toMatch(message);
  });

  test('a folder and a missing file are refused', () => {
    for (const path of [folder, join(folder, 'missing.onnx')]) {
      expect(() => decodeModelFile(path)).toThrow(expect.objectContaining({ code: 'model_invalid' }));
    }
  });
});

describe('models that break a rule', () => {
  const changed = (change: (graph: Graph) => void): Uint8Array => {
    const model = denseModel();
    change(model.graph);
    return encodeModel(model);
  };
  const relu = (input: string, output: string, name = '') =>
    new Node({ opType: 'Relu', name, inputs: [new Value(input)], outputs: [new Value(output)] });

  test.each<[string, Uint8Array, EngineErrorCode, RegExp]>([
    ['a reading of nothing', changed((graph) => graph.append(relu('ghost', 'z', 'haunted'))), 'model_invalid', /'haunted'.*'ghost'/],
    ['a name made twice', changed((graph) => graph.append(relu('x', 'product'))), 'model_invalid', /'product'/],
    ['a node that overwrites an input', changed((graph) => graph.append(relu('w', 'x'))), 'model_invalid', /'x'/],
    ['a cycle', changed((graph) => graph.append(relu('p', 'q'), relu('q', 'p'))), 'model_invalid', /cycle/],
    ['an output nobody makes', changed((graph) => graph.outputs.push(new Value('ghost'))), 'model_invalid', /'ghost'/],
    ['no outputs', changed((graph) => graph.outputs.splice(0)), 'model_invalid', /no outputs/],
    ['an input named twice', changed((graph) => graph.inputs.push(new Value('x'))), 'model_invalid', /'x'/],
    [
      'an initializer named twice',
      changed((graph) => void graph.addInitializer('w', { dataType: 'bool', dims: [], data: denseByte() })),
      'model_invalid',
      /'w'/,
    ],
    ['a value without a name', changed((graph) => graph.inputs.push(new Value(''))), 'model_invalid', /no name/],
    [
      'a node without operator',
      changed((graph) => graph.append(new Node({ opType: '', inputs: [], outputs: [new Value('z')] }))),
      'model_invalid',
      /operator type/,
    ],
  ])('%s', (_name, bytes, code, message) => {
    expect(outcome(bytes)).toBe(code);
    expect(messageFor(bytes)).toMatch(message);
  });

  function denseByte() {
    return { byteLength: 1, read: () => new Uint8Array(1), chunks: () => [new Uint8Array(1)] };
  }

  const versions = (irVersion: number, ...opsets: [string, number][]): Uint8Array => {
    const model = denseModel();
    model.irVersion = irVersion;
    model.opsetImports.clear();
    for (const [domain, version] of opsets) model.opsetImports.set(domain, version);
    return encodeModel(model);
  };

  test.each<[string, EngineErrorCode | 'accepted', Uint8Array]>([
    ['the newest versions the runtime has', 'accepted', versions(13, ['', 26], ['ai.onnx.ml', 5])],
    ['an operator set of the future', 'opset_unsupported', versions(8, ['', 314159])],
    ['an ai.onnx.ml of the future', 'opset_unsupported', versions(8, ['', 17], ['ai.onnx.ml', 6])],
    ['operator set 0', 'model_invalid', versions(8, ['', 0])],
    ['no operator set', 'model_invalid', versions(8)],
    ['ONNX nodes without the ONNX operator set', 'model_invalid', versions(8, ['test', 1])],
    ['an IR version of the future', 'model_unsupported', versions(14, ['', 17])],
    ['no IR version', 'model_invalid', versions(0, ['', 17])],
  ])('%s', (_name, expected, bytes) => {
    expect(outcome(bytes)).toBe(expected);
  });
});

describe('sizes that are only declared', () => {
  const modelWithTensor = (write: (writer: BinaryWriter) => void): Uint8Array => {
    const tensor = new BinaryWriter();
    write(tensor);
    const out = new BinaryWriter().tag(1, WireType.LengthDelimited).string('W').finish();
    const graph = new BinaryWriter().tag(5, WireType.LengthDelimited).bytes(tensor.tag(8, WireType.LengthDelimited).string('W').finish());
    const bytes = graph.tag(12, WireType.LengthDelimited).bytes(out).finish();
    const opset = new BinaryWriter().tag(2, WireType.Varint).int64(17).finish();
    return new BinaryWriter()
      .tag(1, WireType.Varint)
      .int64(8)
      .tag(7, WireType.LengthDelimited)
      .bytes(bytes)
      .tag(8, WireType.LengthDelimited)
      .bytes(opset)
      .finish();
  };
  const dims = (writer: BinaryWriter, sizes: readonly (number | bigint)[], typeCode = 1) => {
    for (const size of sizes) writer.tag(1, WireType.Varint).int64(size);
    return writer.tag(2, WireType.Varint).int32(typeCode);
  };

  test.each<[string, EngineErrorCode | 'accepted', (writer: BinaryWriter) => void]>([
    ['2^60 floats and no data', 'model_invalid', (writer) => dims(writer, [2 ** 40, 2 ** 20])],
    [
      '2^40 bytes of which 10 are there',
      'model_invalid',
      (writer) =>
        dims(writer, [2 ** 40], 3)
          .tag(9, WireType.LengthDelimited)
          .bytes(new Uint8Array(10)),
    ],
    [
      '2^40 integers in a 1-byte list',
      'model_invalid',
      (writer) =>
        dims(writer, [2 ** 40], 7)
          .tag(7, WireType.LengthDelimited)
          .bytes(new Uint8Array(1)),
    ],
    ['too much data', 'model_invalid', (writer) => dims(writer, [1], 3).tag(9, WireType.LengthDelimited).bytes(new Uint8Array(2))],
    ['a negative size', 'model_invalid', (writer) => dims(writer, [-1])],
    ['a size beyond 2^53', 'model_invalid', (writer) => dims(writer, [2n ** 62n])],
    ['zero times 2^40', 'accepted', (writer) => dims(writer, [0, 2 ** 40])],
    ['no element type', 'model_invalid', (writer) => dims(writer, [0], 0)],
    ['an unknown element type', 'model_unsupported', (writer) => dims(writer, [0], 77)],
    [
      'data in two places',
      'model_invalid',
      (writer) => dims(writer, [1]).tag(4, WireType.Bit32).float(1).tag(9, WireType.LengthDelimited).bytes(new Uint8Array(4)),
    ],
    ['floats in a tensor of integers', 'model_invalid', (writer) => dims(writer, [1], 6).tag(4, WireType.Bit32).float(1)],
    ['fewer strings than declared', 'model_invalid', (writer) => dims(writer, [2], 8).tag(6, WireType.LengthDelimited).string('one')],
    ['segments', 'model_unsupported', (writer) => dims(writer, [0]).tag(3, WireType.LengthDelimited).bytes(new Uint8Array(0))],
    [
      'a name that is not UTF-8',
      'model_invalid',
      (writer) => dims(writer, [0]).tag(12, WireType.LengthDelimited).bytes(Uint8Array.of(0xff)),
    ],
    ['a group', 'model_invalid', (writer) => dims(writer, [0]).tag(50, WireType.StartGroup).tag(50, WireType.EndGroup)],
  ])('%s', (_name, expected, write) => {
    expect(outcome(modelWithTensor(write))).toBe(expected);
  });

  test('a length that overruns its message is refused', () => {
    expect(outcome(Uint8Array.of(0x08, 8, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x07, 0))).toBe('model_invalid');
    expect(outcome(Uint8Array.of(0x08, 8, 0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0))).toBe('model_invalid');
  });

  /** A model whose graph is `count` times the same field. */
  const repeated = (field: Uint8Array, count: number): Uint8Array => {
    const graph = new Uint8Array(field.length * count);
    for (let at = 0; at < graph.length; at += field.length) graph.set(field, at);
    return new BinaryWriter().tag(1, WireType.Varint).int64(8).tag(7, WireType.LengthDelimited).bytes(graph).finish();
  };

  test.each([
    ['nodes of 5 bytes', Uint8Array.of(0x0a, 3, 0x22, 1, 65), 400_000],
    ['empty annotations', Uint8Array.of(0x72, 0), 1_300_000],
  ])('%s that would take gigabytes of objects are refused', (_name, field, count) => {
    expect(() => decodeModel(repeated(field, count))).toThrow(expect.objectContaining({ code: 'model_unsupported' }));
  });

  test('a file above the limit is refused unread', () => {
    const path = join(folder, 'limit.onnx');
    writeFileSync(path, encodeModel(denseModel()));
    expect(() => decodeModelFile(path, { bytesMax: 10 })).toThrow(expect.objectContaining({ code: 'model_unsupported' }));
  });
});

describe('work that must not grow with the square of the file', () => {
  test('20,000 inputs that are initializers, as before IR version 4', () => {
    const model = denseModel();
    for (let i = 0; i < 20_000; i++) model.graph.inputs.push(model.graph.addInitializer(`w${i}`, float32Tensor([], [i])));
    expect(decodeModel(encodeModel(model)).graph.inputs).toHaveLength(20_001);
  });

  test('5,000 branches beside 20,000 values that they could see', () => {
    const model = denseModel();
    for (let i = 0; i < 20_000; i++) model.graph.addInitializer(`w${i}`, float32Tensor([], [i]));
    for (let i = 0; i < 5_000; i++) {
      const body = new Graph('body');
      body.append(new Node({ opType: 'Identity', inputs: [model.graph.inputs[0] ?? null], outputs: [new Value('inner')] }));
      model.graph.append(new Node({ opType: 'If', inputs: [], outputs: [], attributes: { then_branch: attributeOf.graph(body) } }));
    }
    expect(decodeModel(encodeModel(model)).graph.nodes).toHaveLength(5_002);
  });

  test('a name of a megabyte does not make a message of a megabyte', () => {
    const model = denseModel();
    model.graph.outputs.push(new Value('n'.repeat(1e6)));
    expect(messageFor(encodeModel(model)).length).toBeLessThan(1000);
  });
});

describe('nesting', () => {
  /** `depth` If nodes inside each other, each returning `x`. */
  function nested(depth: number): Uint8Array {
    const [x, c] = [tensorValue('x', [2]), tensorValue('c', [], 'bool')];
    let graph = single('innermost', 'Identity', x);
    for (let level = 1; level <= depth; level++) {
      graph = single(`level${level}`, 'If', c, {
        then_branch: attributeOf.graph(graph),
        else_branch: attributeOf.graph(single(`else${level}`, 'Identity', x)),
      });
    }
    graph.inputs.push(x, c);
    return encodeModel(modelOf(graph));
  }

  function single(name: string, opType: string, input: Value, attributes: Record<string, Attribute> = {}): Graph {
    const graph = new Graph(name);
    const out = tensorValue(`${name}_out`, [2]);
    graph.append(new Node({ opType, inputs: [input], outputs: [out], attributes }));
    graph.outputs.push(out);
    return graph;
  }

  test('30 nested branches are read, as onnxruntime does; 40 are refused, as protobuf does', () => {
    expect(outcome(nested(30))).toBe('accepted');
    expect(outcome(nested(40))).toBe('model_invalid');
  });

  test('a type nested 2,000 deep is refused without overflowing the stack', () => {
    let type = new Uint8Array(0);
    for (let level = 0; level < 2000; level++) {
      const sequence = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(type).finish();
      type = new BinaryWriter().tag(4, WireType.LengthDelimited).bytes(sequence).finish();
    }
    const input = new BinaryWriter().tag(1, WireType.LengthDelimited).string('in').tag(2, WireType.LengthDelimited).bytes(type).finish();
    const graph = new BinaryWriter().tag(11, WireType.LengthDelimited).bytes(input).finish();
    expect(outcome(new BinaryWriter().tag(1, WireType.Varint).int64(8).tag(7, WireType.LengthDelimited).bytes(graph).finish())).toBe(
      'model_invalid',
    );
  });

  test('a chain of 20,000 nodes in reverse order is sorted', () => {
    const model = denseModel();
    const { graph } = model;
    const values = Array.from({ length: 20_000 }, (_, i) => new Value(`v${i}`));
    const [first] = graph.inputs;
    const last = values.at(-1);
    if (!first || !last) throw new Error('the sample model has changed');
    const nodes = values.map((value, i) => new Node({ opType: 'Relu', inputs: [values[i - 1] ?? first], outputs: [value] }));
    for (const node of nodes.reverse()) graph.append(node);
    graph.outputs.push(last);
    const decoded = decodeModel(encodeModel(model));
    verifyModel(decoded);
    expect(decoded.graph.nodes.at(-1)?.outputs[0]?.name).toBe('v19999');
  });
});

describe('damage', () => {
  const originals = [denseModel(), branchingModel(), kitchenSinkModel()].map(encodeModel);
  const original = fc.constantFrom(...originals);

  test('changing any bytes gives a model that verifies and encodes, or an EngineError', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(original, edits, (bytes, changes) => {
        const damaged = bytes.slice();
        for (const [at, byte] of changes) damaged[at % damaged.length] = byte;
        survives(damaged);
      }),
      { numRuns: 1500 },
    );
  });

  test('cutting a model anywhere, or doubling a part of it, never does more harm than that', () => {
    fc.assert(
      fc.property(original, fc.nat(), fc.nat(), (bytes, a, b) => {
        const [from, to] = [a % bytes.length, b % bytes.length].sort((x, y) => x - y);
        survives(bytes.slice(0, from));
        survives(Buffer.concat([bytes.slice(0, to), bytes.slice(from)]));
      }),
      { numRuns: 500 },
    );
  });

  test('random bytes are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => decodeModel(bytes)).toThrow(EngineError);
      }),
    );
  });

  function survives(bytes: Uint8Array): void {
    let model: ReturnType<typeof decodeModel>;
    try {
      model = decodeModel(bytes);
    } catch (error) {
      if (error instanceof EngineError) return;
      throw error;
    }
    verifyModel(model);
    const encoded = encodeModel(model);
    expect(Buffer.from(encodeModel(decodeModel(encoded))).equals(encoded)).toBe(true);
  }
});

const edgeFolder = join(process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../../shared/data'), 'onnx-edge');

/** What becomes of each file; everything not named here must be accepted. */
const refused: Record<string, EngineErrorCode> = {
  'add_opset_314159.onnx': 'opset_unsupported',
  'custom_op_string_lower.onnx': 'model_invalid',
  'git_lfs_pointer.onnx': 'model_invalid',
  'mnist.basic.ort': 'model_invalid',
  'model_with_external_initializers.onnx': 'external_data_invalid',
  'mul_1.noopset.onnx': 'model_invalid',
  'test_arbitrary_external_file.onnx': 'external_data_invalid',
  'crafted/duplicate_output_missing_input.onnx': 'model_invalid',
  'crafted/empty.onnx': 'model_invalid',
  'crafted/external_data_traversal.onnx': 'external_data_invalid',
  'crafted/huge_declared_dims.onnx': 'model_invalid',
  'crafted/length_overrun.onnx': 'model_invalid',
  'crafted/short_raw_data.onnx': 'model_invalid',
  'crafted/text.onnx': 'model_invalid',
  'crafted/truncated_mnist.onnx': 'model_invalid',
};

describe.skipIf(!existsSync(edgeFolder))('the collection of odd files', () => {
  const files = existsSync(edgeFolder)
    ? readdirSync(edgeFolder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(onnx|ort)$/.test(name))
    : [];
  test.each(files)('%s', (name) => {
    const decode = () => verifyModel(decodeModelFile(join(edgeFolder, name)));
    const code = refused[name];
    if (code) expect(decode).toThrow(expect.objectContaining({ name: 'EngineError', code }));
    else decode();
  });
});
