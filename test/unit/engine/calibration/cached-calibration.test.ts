import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cachedCalibration } from '../../../../services/engine/calibration/index.js';
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

async function result(calibrationCache: Awaited<ReturnType<typeof cache>>) {
  const samples = samplesOf(image);
  const context = staticContext(samples, { calibrationCache });
  const channels = new Map([['x', 1]]);
  return cachedCalibration({ model: residualNetwork(), tensors: ['x'], samples, options: {}, channels, context });
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
