/** Activation compression: what it reports is what coding the maps by hand gives, and the graph is left alone. */
import { afterAll, expect, test } from 'vitest';
import { bitTableOf } from '../../../../services/engine/accelerators/index.js';
import { activationCompression } from '../../../../services/engine/activation-compression/index.js';
import { attributeOf, cloneModel, float32Values, type Model, tensorOf } from '../../../../services/engine/ir/index.js';
import { encodeMap, layoutOfMap } from '../../../../services/engine/map-codec/index.js';
import { encodeModel } from '../../../../services/engine/onnx/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const SIZE = 12;

/** Conv 1 -> 3 with Relu; the map is the output. */
function network(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 1, SIZE, SIZE]);
  const conv = builder.node('Conv', [x, builder.constant('w', noise([3, 1, 3, 3], 5, 0.5))], { pads: attributeOf.ints([1, 1, 1, 1]) });
  return builder.output(builder.node('Relu', [conv]), ['n', 3, SIZE, SIZE]).model;
}

const images = noise([2, 1, SIZE, SIZE], 31);
const source = sourceOf({ input: 'x', dims: [1, SIZE, SIZE], values: float32Values(images) });
const image = (index: number) =>
  tensorOf('float32', [1, 1, SIZE, SIZE], float32Values(images).slice(index * SIZE * SIZE, (index + 1) * SIZE * SIZE));

test('a map of floats is coded in the bits asked for, over its range on the samples', async () => {
  const model = network();
  const { maps = [] } = await activationCompression(model, { bits: 6, tile_rows: 4 }, learningContext(source));

  const outputs = await Promise.all(
    [0, 1].map(async (index) => (await outputsOf(network(), { x: image(index) }))[0] ?? new Float32Array()),
  );
  const scale = Math.fround(Math.max(...outputs.flatMap((values) => [...values])) / 63);
  const layout = layoutOfMap([1, 3, SIZE, SIZE], { bits: 6, zero: 0 }, { rows: 4, columns: 128 });
  const coded = outputs.map(
    (values) =>
      encodeMap(
        values.map((value) => Math.min(63, Math.round(value / scale))),
        layout,
      ).byteLength,
  );
  const [of] = maps.filter(({ bits_per_value }) => bits_per_value > 0).slice(-1);
  expect(maps.map(({ node }) => node)).toHaveLength(2);
  expect(of).toMatchObject({ bits: 6, values: 2 * 3 * SIZE * SIZE });
  expect(of?.bits_per_value).toBeCloseTo((8 * ((coded[0] ?? 0) + (coded[1] ?? 0))) / (2 * 3 * SIZE * SIZE), 10);
  expect(bitTableOf(model).compressed?.[of?.map ?? '']).toBe(of?.bits_per_value);
});

test('a quantized map is coded as the model quantizes it', async () => {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 1, SIZE, SIZE]);
  const scale = builder.constant('s', tensorOf('float32', [], Float32Array.of(0.04)));
  const zero = builder.constant('z', tensorOf('int8', [], Int8Array.of(-20)));
  const codes = builder.node('QuantizeLinear', [x, scale, zero]);
  const back = builder.node('DequantizeLinear', [codes, scale, zero]);
  const { model } = builder.output(builder.node('Conv', [back, builder.constant('w', noise([1, 1, 1, 1], 2))]), ['n', 1, SIZE, SIZE]);
  const { maps = [] } = await activationCompression(model, {}, learningContext(source));

  const layout = layoutOfMap([1, 1, SIZE, SIZE], { bits: 8, zero: 108 });
  const bytes = [0, 1].map((index) => {
    // 128 moves int8 codes to 0..255. Math.round differs from rint in ties alone, of which noise has none.
    const expected = float32Values(image(index)).map((value) =>
      Math.min(255, Math.max(0, Math.round(value / Math.fround(0.04)) - 20 + 128)),
    );
    return encodeMap(expected, layout).byteLength;
  });
  expect(maps[0]).toMatchObject({ map: 'x', bits: 8 });
  expect(maps[0]?.bits_per_value).toBeCloseTo((8 * ((bytes[0] ?? 0) + (bytes[1] ?? 0))) / (2 * SIZE * SIZE), 10);
});

test('nothing but the table of the metadata is written', async () => {
  const model = network();
  const before = cloneModel(model);
  const { nodes, warnings } = await activationCompression(model, {}, learningContext(source));
  model.metadata.clear();
  expect(encodeModel(model)).toEqual(encodeModel(before));
  expect(nodes).toEqual([]);
  expect(warnings?.at(-1)).toMatch(/not time on a CPU/);
});

test('without samples it says what to give', async () => {
  await expect(activationCompression(network(), {}, contextFor('measured'))).rejects.toThrow(/needs samples: give a data set/);
});
