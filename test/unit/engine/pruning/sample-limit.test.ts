/** The samples of a fit: enough rows for the widest layer, no more products than they are worth. */
import { expect, test } from 'vitest';
import { attributeOf, type Model } from '../../../../services/engine/ir/index.js';
import { nameNodes } from '../../../../services/engine/layers/node-names.js';
import { samplesWorth } from '../../../../services/engine/pruning/sample-limit.js';
import { ModelBuilder, noise } from '../quantization/method-fixtures.js';

function convolution(channels: number, size: number): { model: Model; shapes: Map<string, readonly number[]> } {
  const b = new ModelBuilder();
  const x = b.input('x', [1, channels, size, size]);
  const y = b.node('Conv', [x, b.constant('w', noise([channels, channels, 3, 3], 1))], { pads: attributeOf.ints([1, 1, 1, 1]) });
  const { model } = b.output(y, [1, channels, size, size]);
  nameNodes(model);
  const dims = [1, channels, size, size];
  return { model, shapes: new Map([x, y].map(({ name }) => [name, dims])) };
}

test('small maps take all samples up to 2,000', () => {
  const { model, shapes } = convolution(4, 8);
  expect(samplesWorth(model, shapes, 1)).toBe(2000);
});

test('large maps take as many as their products are worth, and never fewer than 16', () => {
  const middle = convolution(32, 56);
  const cost = 56 ** 2 * (9 * 32) ** 2;
  expect(samplesWorth(middle.model, middle.shapes, 1)).toBe(Math.floor(2e11 / cost));
  const large = convolution(64, 224);
  expect(samplesWorth(large.model, large.shapes, 1)).toBe(16);
});

test('a transposed convolution counts with all its inputs for every output', () => {
  const [channels, size, stride] = [8, 32, 3];
  const b = new ModelBuilder();
  const x = b.input('x', [1, channels, size, size]);
  const window = { strides: attributeOf.ints([stride, stride]), pads: attributeOf.ints([3, 3, 3, 3]) };
  const y = b.node('ConvTranspose', [x, b.constant('w', noise([channels, 1, 9, 9], 1))], window);
  const wide = stride * (size - 1) + 3;
  const { model } = b.output(y, [1, 1, wide, wide]);
  nameNodes(model);
  const shapes = new Map([
    ['x', [1, channels, size, size]],
    [y.name, [1, 1, wide, wide]],
  ]);
  expect(samplesWorth(model, shapes, 1)).toBe(Math.floor(2e11 / (wide ** 2 * (81 * channels) ** 2)));
});

test('a wide product that sees one row in a sample has 64 rows for each input, as far as 2,000 samples go', () => {
  const b = new ModelBuilder();
  const x = b.input('x', [2, 20]);
  const y = b.node('Gemm', [x, b.constant('w', noise([20, 4], 1))]);
  const { model } = b.output(y, [2, 4]);
  nameNodes(model);
  const shapes = new Map([
    ['x', [2, 20]],
    [y.name, [2, 4]],
  ]);
  expect(samplesWorth(model, shapes, 2)).toBeGreaterThanOrEqual(64 * 20);
});
