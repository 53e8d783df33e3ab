/** Trained models of the shared data, where they are at hand. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import {
  float32Tensor,
  float32Values,
  graphsWithin,
  int64Tensor,
  type Model,
  type Tensor,
} from '../../../../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../../../../services/engine/onnx/index.js';
import { cleanUp } from '../../../../../services/engine/passes/index.js';
import { storeLowBit } from '../../../../../services/engine/quantization/weight-storage/index.js';
import { findSampleInputs } from '../../../../../services/engine/runtime/sample-inputs.js';
import { contextFor, removeScratch, runtime, scratch, sqnr } from '../method-fixtures.js';
import { samplesOf } from './sample-source.js';

afterAll(removeScratch);

const data = '/work/shared/data';
const fashion = join(data, 'fashion-mnist');

function images(file: string, count: number): Float32Array {
  const pixels = gunzipSync(readFileSync(join(fashion, file))).subarray(16, 16 + 784 * count);
  return Float32Array.from(pixels, (pixel) => (pixel / 255 - 0.286) / 0.353);
}

async function accuracy(path: string, count: number): Promise<number> {
  const labels = gunzipSync(readFileSync(join(fashion, 't10k-labels-idx1-ubyte.gz'))).subarray(8);
  const pixels = images('t10k-images-idx3-ubyte.gz', count);
  const session = await runtime.open(path);
  let right = 0;
  for (let at = 0; at < count; at += 500) {
    const output = (await session.run(new Map([['input', float32Tensor([500, 1, 28, 28], pixels.slice(at * 784, (at + 500) * 784))]]))).get(
      'output',
    );
    if (!output) throw new Error('no output');
    const logits = float32Values(output);
    for (let row = 0; row < 500; row += 1) {
      const own = logits.subarray(row * 10, row * 10 + 10);
      if (own.indexOf(Math.max(...own)) === labels[at + row]) right += 1;
    }
  }
  await session.close();
  return right / count;
}

describe.skipIf(!existsSync(fashion))('storeLowBit on a trained residual network', () => {
  it('keeps the accuracy in 3 and in 2 bits with 300 unlabelled images, in a file of the size that the bits promise', async () => {
    const source = join(fashion, 'models/resnet8.onnx');
    const calibration = samplesOf('input', float32Tensor([300, 1, 28, 28], images('train20k-images-idx3-ubyte.gz', 300)));
    const before = await accuracy(source, 2000);
    for (const [convBits, drop] of [
      [3, 0.008],
      [2, 0.02],
    ] as const) {
      const model = decodeModelFile(source);
      await storeLowBit(model, { convBits, algorithm: 'gptq' }, { ...contextFor('measured'), calibration });
      const path = join(scratch, `resnet8-${convBits}.onnx`);
      await encodeModelFile(model, path);
      // 76,288 weights in the eight middle convolutions; head, biases, scales and graph take 10,200 bytes.
      expect(statSync(path).size).toBeLessThan((76_288 * convBits) / 8 + 12_500);
      expect(await accuracy(path, 2000)).toBeGreaterThan(before - drop);
    }
  }, 120_000);
});

const vad = join(data, 'vad');

/** Probabilities of speech in the first 10 seconds of the recording. */
async function speech(model: Model): Promise<number[]> {
  const file = readFileSync(join(vad, 'silero_test.wav'));
  const start = file.indexOf('data') + 8;
  const sound = Float32Array.from({ length: 160_000 }, (_, at) => file.readInt16LE(start + 2 * at) / 32_768);
  const session = await runtime.open(model);
  const probabilities: number[] = [];
  let state: Tensor = float32Tensor([2, 1, 128], new Float32Array(256));
  for (let at = 64; at + 512 <= sound.length; at += 512) {
    const input = float32Tensor([1, 576], sound.slice(at - 64, at + 512));
    const results = await session.run(
      new Map([
        ['input', input],
        ['state', state],
        ['sr', int64Tensor([], [16_000])],
      ]),
    );
    const [probability, next] = [...results.values()];
    probabilities.push(probability ? (float32Values(probability)[0] ?? Number.NaN) : Number.NaN);
    state = next ?? state;
  }
  await session.close();
  return probabilities;
}

describe.skipIf(!existsSync(vad))('storeLowBit on a voice detector whose weights are Constant nodes in branches', () => {
  it('hears the same speech from a quarter of the bytes', async () => {
    const path = join(vad, 'models/silero_vad.onnx');
    const model = decodeModelFile(path);
    await cleanUp(model, contextFor('measured'));
    const { nodes } = await storeLowBit(model, {}, contextFor('measured'));
    expect(
      nodes
        .filter(({ action }) => action === 'changed')
        .map(({ op_type }) => op_type)
        .sort(),
    ).toEqual([...Array(12).fill('Conv'), 'LSTM', 'LSTM']);
    const stored = join(scratch, 'vad.onnx');
    await encodeModelFile(model, stored);
    expect(statSync(stored).size).toBeLessThan(0.28 * statSync(path).size);
    const [before, after] = [await speech(decodeModelFile(path)), await speech(decodeModelFile(stored))];
    expect(before.some((value) => value > 0.5)).toBe(true);
    expect(sqnr(Float32Array.from(before), Float32Array.from(after))).toBeGreaterThan(30);
  }, 60_000);
});

describe('storeLowBit on models as they are found', () => {
  const models = [
    ['vad/models/silero_vad.onnx', 30],
    ['speech-enh/gtcrn.onnx', 30],
    ['magika/model.onnx', 30],
    ['hand-gesture/point_history_classifier_lstm.onnx', 0],
    ['mnist/models/mnist_cntk_opset8.onnx', 30],
    ['superres/models/fsrcnn_x3.onnx', 25],
  ] as const;

  for (const [file, least] of models) {
    it.skipIf(!existsSync(join(data, file)))(
      `makes ${file} smaller, close to float32, with nothing left to unpack`,
      async () => {
        const source = decodeModelFile(join(data, file));
        const model = decodeModelFile(join(data, file));
        const { nodes } = await storeLowBit(model, {}, contextFor('measured'));
        expect(nodes.some(({ action }) => action === 'changed')).toBe(true);
        const path = join(scratch, 'found.onnx');
        await encodeModelFile(model, path);
        expect(statSync(path).size).toBeLessThan(statSync(join(data, file)).size);
        const optimized = join(scratch, 'found-optimized.onnx');
        const [before, after] = [await runtime.open(source), await runtime.open(path, { optimizedModelPath: optimized })];
        const feeds = (await findSampleInputs(source, before)).make(1);
        const [expected, found] = [await before.run(feeds), await after.run(feeds)];
        for (const [name, tensor] of expected) {
          const result = found.get(name);
          if (tensor.dataType === 'float32' && result) expect(sqnr(float32Values(tensor), float32Values(result))).toBeGreaterThan(least);
        }
        const left = [...graphsWithin(decodeModelFile(optimized).graph)]
          .flatMap((graph) => graph.nodes)
          .filter(({ name }) => name.startsWith('widen'));
        expect(left).toEqual([]);
        await before.close();
        await after.close();
      },
      60_000,
    );
  }
});
