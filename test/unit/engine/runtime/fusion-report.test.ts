/** The fusion report tells integer kernels from float operators that dequantize their weights at every run. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { float32Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { reportFusion } from '../../../../services/engine/runtime/fusion-report.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, classifier } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const int8 = (dims: readonly number[]) =>
  tensorOf(
    'int8',
    dims,
    Int8Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => (i % 7) - 3),
  );

describe('reportFusion', () => {
  test('counts the operators that the runtime made', async () => {
    const scratch = await temporaryFolder();
    const report = await reportFusion(createOrtRuntime({ scratch }), classifier(), scratch);
    expect(report).toEqual({ operators: { 'com.microsoft:FusedGemm': 1, Gemm: 1 }, unfused: [] });
    expect(await readdir(scratch)).toEqual([]);
  });

  test('names a convolution whose weights are dequantized at every run', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [1, 2, 8, 8] }],
      outputs: [{ name: 'y', shape: [1, 4, 6, 6] }],
      constants: { wq: int8([4, 2, 3, 3]), s: float32Tensor([], [0.1]) },
      nodes: [
        { opType: 'DequantizeLinear', inputs: ['wq', 's'], outputs: ['w'] },
        { opType: 'Conv', name: 'slow', inputs: ['x', 'w'], outputs: ['y'] },
      ],
    });
    const scratch = await temporaryFolder();
    const report = await reportFusion(createOrtRuntime({ scratch }), model, scratch);
    expect(report.unfused).toEqual([{ node: 'slow', op_type: 'Conv' }]);
  });

  test('a dynamically quantized product is one integer kernel', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 8] }],
      outputs: [{ name: 'y', shape: ['n', 4] }],
      constants: { wq: int8([8, 4]), s: float32Tensor([], [0.1]), z: tensorOf('int8', [], Int8Array.of(0)) },
      nodes: [{ opType: 'DynamicQuantizeMatMul', domain: 'com.microsoft', inputs: ['x', 'wq', 's', 'z'], outputs: ['y'] }],
    });
    const scratch = await temporaryFolder();
    const report = await reportFusion(createOrtRuntime({ scratch }), model, scratch);
    expect(report).toEqual({ operators: { 'com.microsoft:DynamicQuantizeMatMul': 1 }, unfused: [] });
  });

  test('a model whose weights lie in a file beside it is read like any other', async () => {
    const [scratch, folder] = [await temporaryFolder(), await temporaryFolder()];
    const path = join(folder, 'model.onnx');
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 32] }],
      outputs: [{ name: 'y', shape: ['n', 16] }],
      constants: { w: float32Tensor([32, 16], new Float32Array(512).fill(0.5)) },
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    });
    expect(encodeModelFile(model, path, { externalThresholdBytes: 0 })).toHaveLength(2);
    const report = await reportFusion(createOrtRuntime({ scratch }), path, scratch);
    expect(report).toEqual({ operators: { MatMul: 1 }, unfused: [] });
  });
});
