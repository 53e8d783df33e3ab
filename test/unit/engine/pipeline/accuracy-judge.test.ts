import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { float32Tensor, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import { encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { accuracyJudge } from '../../../../services/engine/pipeline/accuracy-judge.js';
import { datasetSource } from '../../../../services/engine/pipeline/evaluation-source.js';
import type { QualityGate } from '../../../../services/engine/pipeline/plan.js';
import type { Runtime } from '../../../../services/engine/runtime/execution-session.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { float32Array, int64Array, writeNpz } from '../../../support/write-npz.js';

const samples = 10;

/** logits = x * factors; a factor of -1 turns its class around. */
function scaler(factors: readonly number[]): Model {
  const constant: Tensor = float32Tensor([factors.length], factors);
  return buildModel({
    inputs: [{ name: 'x', shape: ['n', factors.length] }],
    outputs: [{ name: 'y', shape: ['n', factors.length] }],
    constants: { factors: constant },
    nodes: [{ opType: 'Mul', inputs: ['x', 'factors'], outputs: ['y'] }],
  });
}

/** Samples whose class is the largest of x; the first `wrong` labels are another class. */
async function judged(gate: QualityGate | undefined, labels: 'classes' | 'values' | 'none' = 'classes') {
  const folder = await temporaryFolder();
  const [sourcePath, dataPath] = [join(folder, 'source.onnx'), join(folder, 'data.npz')];
  encodeModelFile(scaler([1, 1]), sourcePath);
  const x = Array.from({ length: samples }, (_, at) => (at % 2 === 0 ? [1, 0.5] : [0.5, 1])).flat();
  const arrays = {
    classes: {
      labels: int64Array(
        [samples],
        Array.from({ length: samples }, (_, at) => (at === 0 ? 1 : at % 2)),
      ),
    },
    values: { labels: float32Array([samples, 2], x) },
    none: {},
  };
  await writeNpz(dataPath, { x: float32Array([samples, 2], x), ...arrays[labels] });
  const real = createOrtRuntime({ scratch: folder, threads: 1 });
  const opened: string[] = [];
  const runtime: Runtime = {
    ...real,
    open: (model, options) => {
      opened.push(typeof model === 'string' ? 'source' : 'candidate');
      return real.open(model, options);
    },
  };
  const session = await real.open(sourcePath);
  const source = await datasetSource({ path: dataPath, scratch: folder, open: () => real.open(sourcePath) }, session);
  await session.close();
  const judge = await accuracyJudge({ runtime, sourcePath, samples: source, gate, signal: new AbortController().signal });
  return { judge, opened, close: () => source.close() };
}

describe('the accuracy judge', () => {
  it('gives the loss of accuracy that the gate would see, and opens the source once for any number of candidates', async () => {
    const { judge, opened, close } = await judged({ max_metric_drop: 0.1 });
    expect(judge).toMatchObject({ metric: 'top1', maxDrop: 0.1 });
    // One label of ten is wrong: .9 for the source, .1 for the reverse of every score.
    expect(await judge?.drop(scaler([1, 1]))).toBe(0);
    expect(await judge?.drop(scaler([-1, -1]))).toBe(0.8);
    // Always class 1: right for the five odd samples and the first.
    expect(await judge?.drop(scaler([-1, 1]))).toBe(0.3);
    expect(opened).toEqual(['source', 'candidate', 'candidate', 'candidate']);
    await close();
  });

  it('judges errors by their growth when the labels are values', async () => {
    const { judge, close } = await judged({ max_metric_drop: 0.1 }, 'values');
    expect(judge?.metric).toBe('mse');
    // y = 2 x against labels x: the mean of x^2 over .25 and 1.
    expect(await judge?.drop(scaler([2, 2]))).toBeCloseTo(0.625, 6);
    await close();
  });

  it.each([
    ['the gate bounds nothing', undefined, 'classes'],
    ['the gate bounds something else', { min_size_ratio: 2 }, 'classes'],
    ['there are no labels', { max_metric_drop: 0.1 }, 'none'],
  ] as const)('does not exist when %s', async (_when, gate, labels) => {
    const { judge, opened, close } = await judged(gate, labels);
    expect(judge).toBeUndefined();
    expect(opened).toEqual([]);
    await close();
  });

  it('refuses a metric that the labels do not allow', async () => {
    const { judge, close } = await judged({ max_metric_drop: 0.1, metric: 'top5' });
    await expect(judge?.drop(scaler([1, 1]))).rejects.toMatchObject({ code: 'recipe_invalid', message: expect.stringContaining('top5') });
    await close();
  });
});
