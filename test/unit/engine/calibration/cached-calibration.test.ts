import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cachedCalibration } from '../../../../services/engine/calibration/index.js';
import { attributeOf, float32Tensor, float32Values } from '../../../../services/engine/ir/index.js';
import { openCalibrationCache } from '../../../../services/engine/pipeline/calibration-cache.js';
import { removeScratch } from '../quantization/method-fixtures.js';
import { image, residualNetwork, samplesOf, staticContext } from '../quantization/static/static-fixtures.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-cache-'));
  await writeFile(join(folder, 'data.npz'), 'samples');
  await writeFile(join(folder, 'other.npz'), 'other samples');
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  removeScratch();
});

function cache(name: string, dataPath = join(folder, 'data.npz')) {
  return openCalibrationCache({ folder: join(folder, name), sourceSha256: 'abc', dataPath, plan: { steps: [{ method: 'static-int8' }] } });
}

async function result(calibrationCache: Awaited<ReturnType<typeof cache>>, model = residualNetwork()) {
  const samples = samplesOf(image);
  const context = staticContext(samples, { calibrationCache });
  const channels = new Map([['x', 1]]);
  return cachedCalibration({ model, tensors: ['x'], samples, options: {}, channels, context });
}

it('gives the second time what it gave the first, and says that it comes from the cache', async () => {
  const [first, second] = [await result(await cache('same')), await result(await cache('same'))];
  expect(first.summary.from_cache).toBe(false);
  expect(second.summary).toEqual({ ...first.summary, from_cache: true });
  expect(second.tensors).toEqual(first.tensors);
});

it('runs the samples again for other data', async () => {
  await result(await cache('apart'));
  expect((await result(await cache('apart', join(folder, 'other.npz')))).summary.from_cache).toBe(false);
});

it('takes a damaged entry for none', async () => {
  const first = await result(await cache('damaged'));
  for (const entry of await readdir(join(folder, 'damaged'))) await writeFile(join(folder, 'damaged', entry), '{"tensors": [[');
  const again = await result(await cache('damaged'));
  expect(again.summary.from_cache).toBe(false);
  expect(again.tensors).toEqual(first.tensors);
});

it('runs the samples again when a weight, an attribute or a connection of the model is another', async () => {
  const kept = await cache('models');
  await result(kept);
  expect((await result(kept)).summary.from_cache).toBe(true);
  const weight = residualNetwork();
  for (const [value, tensor] of weight.graph.initializers) {
    if (tensor.dataType === 'float32')
      weight.graph.initializers.set(
        value,
        float32Tensor(
          tensor.dims,
          float32Values(tensor).map((each) => 2 * each),
        ),
      );
  }
  const attribute = residualNetwork();
  attribute.graph.nodes.find(({ opType }) => opType === 'Conv')?.attributes.set('auto_pad', attributeOf.string('NOTSET'));
  const connection = residualNetwork();
  const sum = connection.graph.nodes.find(({ opType }) => opType === 'Add');
  sum?.setInput(1, sum.inputs[0] ?? null);
  for (const model of [weight, attribute, connection]) {
    expect((await result(kept, model)).summary.from_cache).toBe(false);
    expect((await result(kept, model)).summary.from_cache).toBe(true);
  }
});
