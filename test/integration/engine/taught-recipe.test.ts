/** A network pruned, taught on patches and lowered in one recipe, judged on whole pictures of other sizes. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bitTableOf } from '../../../services/engine/accelerators/index.js';
import { compress } from '../../../services/engine/index.js';
import { attributeOf, float32Tensor, float32Values, type Model } from '../../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../../services/engine/onnx/index.js';
import { createOrtRuntime } from '../../../services/engine/runtime/ort-session.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { float32Array, writeNpz } from '../../support/write-npz.js';
import { ModelBuilder, noise } from '../../unit/engine/quantization/method-fixtures.js';

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
const cross = [0, 0.1, 0, 0.1, 0.6, 0.1, 0, 0.1, 0];

/** What the labels are made by: the mean over a cross. */
function truth(): Model {
  const net = new ModelBuilder();
  const x = net.input('x', ['n', 1, 'h', 'w']);
  return net.output(net.node('Conv', [x, net.constant('w', float32Tensor([1, 1, 3, 3], cross))], pads), ['n', 1, 'h', 'w']).model;
}

/** Eight channels that all see the cross, each with its own noise, and their mean: far from the truth, and far from what it could be. */
function source(): Model {
  const net = new ModelBuilder();
  const x = net.input('x', ['n', 1, 'h', 'w']);
  const wide = float32Values(noise([8, 1, 3, 3], 1, 0.3)).map((value, at) => value + (cross[at % 9] ?? 0));
  const hidden = net.node('Relu', [net.node('Conv', [x, net.constant('w1', float32Tensor([8, 1, 3, 3], wide))], pads)]);
  const mean = float32Tensor([1, 8, 1, 1], new Float32Array(8).fill(1 / 8));
  return net.output(net.node('Conv', [hidden, net.constant('w2', mean)]), ['n', 1, 'h', 'w']).model;
}

test('one recipe prunes, teaches and lowers; the bound on the metric is one of what comes out', async () => {
  const [folder, scratch] = [await temporaryFolder(), await temporaryFolder()];
  const [modelPath, patches, pictures] = ['source.onnx', 'patches.npz', 'pictures.npz'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  encodeModelFile(source(), modelPath);
  const session = await createOrtRuntime({ scratch }).open(truth());
  const pair = async (dims: readonly number[], seed: number) => {
    const values = float32Values(noise(dims, seed)).map((value) => 0.5 + 0.5 * value);
    const [answer] = (await session.run(new Map([['x', float32Tensor(dims, values)]]))).values();
    return [float32Array(dims, values), float32Array(dims, answer ? float32Values(answer) : [])] as const;
  };
  const [x, labels] = await pair([64, 1, 8, 8], 2);
  await writeNpz(patches, { x, labels });
  const [[x_0, labels_0], [x_1, labels_1]] = [await pair([1, 1, 13, 17], 3), await pair([1, 1, 20, 12], 4)];
  await writeNpz(pictures, { x_0, labels_0, x_1, labels_1 });
  await session.close();
  const losses = [{ kind: 'mse', border: 1 }] as const;
  const { report, modelFiles } = await compress({
    ...{ modelPath, calibration: patches, evaluation: pictures, outDir: join(folder, 'out'), scratch, threads: 1 },
    plan: {
      steps: [
        { method: 'structured-pruning', budget: { macs: 0.5 }, round_to: 1 },
        { method: 'train', epochs: 40, batch_size: 8, learning_rate: 0.01, losses },
        {
          ...{ method: 'precision-lowering', activation_bits: 8, weight_bits: 8 },
          recovery: { epochs: 10, batch_size: 8, learning_rate: 0.001, losses },
        },
        { method: 'activation-compression', bits: 16 },
      ],
      evaluation: { image: { border: 1 } },
      gate: { metric: 'psnr', max_metric_drop: 0 },
      target: { accelerator: 'eyeriss-16' },
    },
  });
  expect(report.gate.passed).toBe(true);
  expect(report.artifact.metrics?.psnr).toBeGreaterThan((report.source.metrics?.psnr ?? 100) + 3);
  expect(report.training).toHaveLength(1);
  const artifact = decodeModelFile(modelFiles[0] ?? '');
  const { maps = {}, weights = {}, compressed = {} } = bitTableOf(artifact);
  expect(Object.values(maps)).toEqual([8, 8, 8]);
  expect(Object.values(weights)).toEqual([8, 8]);
  expect(Object.keys(compressed)).toHaveLength(3);
  expect(report.traffic?.dram_saved).toBeGreaterThan(0.5);
});
