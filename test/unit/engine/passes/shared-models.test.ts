/** Clean-up of the real models, when they are at hand: node counts to reach, outputs and sizes to keep. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { float32Tensor, int64Tensor, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import { graphsWithin } from '../../../../services/engine/ir/traversal.js';
import { decodeModelFile, encodeModel } from '../../../../services/engine/onnx/index.js';
import { cleaned, largestDifference, numbers, outputsOf } from './clean-up-oracle.js';

const folder = process.env.LATHE_DATA ?? join(import.meta.dirname, '../../../../../shared/data');

function nodeCount(model: Model): number {
  return [...graphsWithin(model.graph)].reduce((count, graph) => count + graph.nodes.length, 0);
}

const scaled = (dims: readonly number[], seed: number, scale: number): Tensor =>
  float32Tensor(
    dims,
    numbers(
      dims.reduce((a, b) => a * b, 1),
      seed,
    ).map((value) => value * scale),
  );

const speech =
  (batch: number, samples: number, rate: number) =>
  (seed: number): Map<string, Tensor> =>
    new Map([
      ['input', scaled([batch, samples], seed, 0.2)],
      ['state', scaled([2, batch, 128], seed + 1, 0.2)],
      ['sr', int64Tensor([], [rate])],
    ]);

const spectrum = (seed: number): Map<string, Tensor> =>
  new Map([
    ['mix', scaled([1, 257, 1, 2], seed, 0.2)],
    ['conv_cache', scaled([2, 1, 16, 16, 33], seed + 1, 0.1)],
    ['tra_cache', scaled([2, 3, 1, 1, 16], seed + 2, 0.1)],
    ['inter_cache', scaled([2, 1, 33, 16], seed + 3, 0.1)],
  ]);

const images = (batch: number) => (seed: number) => new Map([['input', scaled([batch, 3, 32, 32], seed, 0.5)]]);

/** File, nodes that it has, nodes that may be left, and feeds in several shapes. */
const targets: readonly [string, number, number, readonly ((seed: number) => Map<string, Tensor>)[]][] = [
  ['speech-enh/gtcrn.onnx', 1786, 420, [spectrum]],
  ['vad/models/silero_vad.onnx', 689, 320, [speech(1, 512, 16_000), speech(3, 512, 16_000), speech(2, 256, 8_000)]],
  ['vad/models/silero_vad_16k_op15.onnx', 350, 90, [speech(1, 512, 16_000), speech(2, 512, 16_000)]],
  ['cifar10/models/vit_pgd_2_3_16.onnx', 133, 85, [images(1), images(3)]],
];

/** Files with something odd about them that must come out whole. */
const odd: readonly string[] = [
  'onnx-edge/light_resnet50.onnx',
  'onnx-edge/loop_sub_one.onnx',
  'onnx-edge/fp16model_loop.onnx',
  'onnx-edge/custom_op_test.onnx',
  'onnx-edge/deeploy_requantshift_kws.onnx',
  'onnx-edge/sklearn_randomforest.onnx',
  'onnx-edge/conv_qdq_s8s8_perchannel.onnx',
  'onnx-edge/crafted/nested_if_27.onnx',
];

describe.each(targets)('%s', (file, nodesBefore, nodesMax, feeds) => {
  const path = join(folder, file);

  test.skipIf(!existsSync(path))(
    `of ${nodesBefore} nodes comes to at most ${nodesMax}, grows by at most 5 % and answers the same`,
    async () => {
      const result = await cleaned(decodeModelFile(path));
      expect(nodeCount(result.before)).toBe(nodesBefore);
      expect(nodeCount(result.after)).toBeLessThanOrEqual(nodesMax);
      expect(encodeModel(result.after).byteLength).toBeLessThanOrEqual(encodeModel(result.before).byteLength * 1.05);
      for (const [index, make] of feeds.entries()) {
        for (const optimization of ['disabled', 'all'] as const) {
          const inputs = make(10 * index + 1);
          const expected = await outputsOf(result.before, inputs, optimization);
          expect(largestDifference(expected, await outputsOf(result.after, inputs, optimization))).toBeLessThanOrEqual(3e-6);
        }
      }
    },
  );
});

describe.each(odd)('%s', (file) => {
  const path = join(folder, file);

  test.skipIf(!existsSync(path))('keeps its interface and does not grow by more than 5 %', async () => {
    const { before, after } = await cleaned(decodeModelFile(path));
    // A file before IR version 4 lists its constants as inputs; what a caller feeds are the others.
    const fed = ({ graph }: Model) => graph.inputs.filter((input) => !graph.initializers.has(input));
    const face = (model: Model) => [...fed(model), ...model.graph.outputs].map(({ name, type }) => ({ name, type }));
    const sizeBefore = encodeModel(before).byteLength;
    expect(encodeModel(after).byteLength).toBeLessThanOrEqual(sizeBefore * 1.05);
    expect(nodeCount(after)).toBeLessThanOrEqual(nodeCount(before));
    expect(face(after)).toEqual(face(before));
  });
});
