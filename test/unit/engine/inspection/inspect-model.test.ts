/** What inspection says of a model is what is in it. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { inspectModel, inspectModelFile } from '../../../../services/engine/inspection/index.js';
import { attributeOf, float32Tensor, Graph, int64Tensor, Model, Node, tensorOf, Value } from '../../../../services/engine/ir/index.js';
import { encodeModel, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { branchingModel, denseModel, kitchenSinkModel } from '../onnx/sample-models.js';

const folder = mkdtempSync(join(tmpdir(), 'lathe-inspection-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a small model, in full', () => {
  const model = denseModel();
  model.producerName = 'tests';
  model.graph.addInitializer('indices', int64Tensor([2], [0, 1]));
  expect(inspectModel(model)).toEqual({
    ir_version: 8,
    opset: 17,
    opsets: { 'ai.onnx': 17 },
    producer: { name: 'tests', version: '' },
    inputs: [{ name: 'x', kind: 'tensor', data_type: 'float32', shape: ['N', 4] }],
    outputs: [{ name: 'y', kind: 'tensor', data_type: 'float32', shape: ['N', 3] }],
    nodes: 2,
    subgraphs: 0,
    operators: { Gemm: 1, Relu: 1 },
    parameters: 15,
    weight_bytes: 15 * 4 + 16,
    weights: { float32: { tensors: 2, elements: 15, bytes: 60 }, int64: { tensors: 1, elements: 2, bytes: 16 } },
    quantization: { format: 'none', qdq_nodes: 0, qoperator_nodes: 0, dynamic_nodes: 0, weight_only_nodes: 0 },
    external_data: [],
    functions: [],
    unknown_domains: [],
    unknown_operators: [],
  });
});

test('subgraphs count, most frequent operator first', () => {
  const model = branchingModel();
  const then = model.graph.nodes[0]?.subgraphs[0];
  then?.append(new Node({ opType: 'Mul', inputs: [], outputs: [new Value('z')] }));
  expect(inspectModel(model)).toMatchObject({ nodes: 4, subgraphs: 2 });
  expect(Object.entries(inspectModel(model).operators)[0]).toEqual(['Mul', 2]);
});

test('functions are known operators, other domains are not', () => {
  expect(inspectModel(kitchenSinkModel())).toMatchObject({
    functions: ['test.lathe::Twice'],
    unknown_operators: ['test.lathe::Everything'],
    unknown_domains: [],
  });
  const model = denseModel();
  model.graph.append(
    new Node({ opType: 'Custom', domain: 'acme', inputs: [], outputs: [] }),
    new Node({ opType: 'RequantShift', inputs: [], outputs: [] }),
  );
  expect(inspectModel(model)).toMatchObject({ unknown_domains: ['acme'], unknown_operators: ['acme::Custom', 'RequantShift'] });
});

test('an initializer that callers may override is not asked of them', () => {
  const model = denseModel();
  for (const value of model.graph.initializers.keys()) model.graph.inputs.push(value);
  expect(inspectModel(model).inputs.map((input) => input.name)).toEqual(['x']);
});

test('the description of a hostile model stays small', () => {
  const model = denseModel();
  for (let i = 0; i < 2000; i++) {
    model.graph.inputs.push(new Value(`in${i}`));
    model.graph.append(new Node({ opType: `Op${i}${'x'.repeat(5000)}`, domain: `domain${i}`, inputs: [], outputs: [] }));
  }
  model.producerName = 'p'.repeat(1e6);
  const inspection = inspectModel(model);
  expect(inspection.nodes).toBe(2002);
  expect(inspection.inputs).toHaveLength(1000);
  expect(JSON.stringify(inspection).length).toBeLessThan(3e6);
});

test('weights packed for MatMulNBits count as the weights they are', () => {
  const graph = new Graph('packed');
  const packed = graph.addInitializer('packed', tensorOf('uint8', [8, 1, 16], new Uint8Array(128)));
  const attributes = { bits: attributeOf.int(4), K: attributeOf.int(32), N: attributeOf.int(8), block_size: attributeOf.int(32) };
  graph.append(
    new Node({ opType: 'MatMulNBits', domain: 'com.microsoft', inputs: [new Value('x'), packed], outputs: [new Value('y')], attributes }),
  );
  expect(inspectModel(new Model(graph))).toMatchObject({
    parameters: 32 * 8,
    quantization: { format: 'weight-only', weight_only_nodes: 1 },
  });
  graph.nodes[0]?.attributes.set('bits', attributeOf.string('of another type'));
  expect(inspectModel(new Model(graph)).parameters).toBe(32 * 8);
});

describe('quantization', () => {
  const formatOf = (...nodes: [op: string, domain?: string][]) => {
    const graph = new Graph('quantized');
    const x = new Value('x');
    graph.inputs.push(x);
    let value = x;
    for (const [opType, domain = ''] of nodes) {
      const out = new Value(`${value.name}'`);
      graph.append(new Node({ opType, domain, inputs: [value], outputs: [out] }));
      value = out;
    }
    return inspectModel(new Model(graph)).quantization;
  };

  test.each<[string, [string, string?][], string]>([
    ['pairs of Q and DQ', [['QuantizeLinear'], ['DequantizeLinear'], ['Conv']], 'qdq'],
    ['QLinear operators between Q and DQ', [['QuantizeLinear'], ['QLinearConv'], ['DequantizeLinear']], 'qoperator'],
    ['operators that quantize while running', [['DynamicQuantizeMatMul', 'com.microsoft']], 'dynamic'],
    ['float only', [['Conv'], ['Relu']], 'none'],
    ['several', [['MatMulNBits', 'com.microsoft'], ['MatMulInteger']], 'mixed'],
  ])('%s', (_name, nodes, format) => {
    expect(formatOf(...nodes).format).toBe(format);
  });

  test('a weight stored as int8 and dequantized when used is weight-only', () => {
    const graph = new Graph('embedding');
    const table = graph.addInitializer('table', tensorOf('int8', [4], new Int8Array(4)));
    const rows = new Value('rows');
    graph.append(
      new Node({ opType: 'Gather', inputs: [table, new Value('ids')], outputs: [rows] }),
      new Node({ opType: 'DequantizeLinear', inputs: [rows], outputs: [new Value('y')] }),
    );
    expect(inspectModel(new Model(graph)).quantization).toMatchObject({ format: 'weight-only', weight_only_nodes: 1 });
  });
});

describe('files', () => {
  test('the files with external data are named', () => {
    const path = join(folder, 'model.onnx');
    const model = denseModel();
    model.graph.addInitializer('large', float32Tensor([500], new Float32Array(500)));
    encodeModelFile(model, path, { externalThresholdBytes: 0 });
    expect(inspectModelFile(path)).toMatchObject({ external_data: ['model.onnx.data'], parameters: 515, weight_bytes: 2060 });
  });

  test('a file that is no model is refused with its code', () => {
    const path = join(folder, 'broken.onnx');
    writeFileSync(path, encodeModel(denseModel()).subarray(0, 100));
    expect(() => inspectModelFile(path)).toThrow(expect.objectContaining({ code: 'model_invalid' }));
  });

  const data = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../../shared/data');
  test.skipIf(!existsSync(data))('a real classifier: 784-512-256... as its authors describe it', () => {
    const inspection = inspectModelFile(join(data, 'mnist/models/mnist-net_256x2.onnx'));
    // 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    expect(inspection.parameters).toBe(269_322);
    expect(inspection.operators).toEqual({ Gemm: 3, Relu: 2, Flatten: 1 });
  });
});
