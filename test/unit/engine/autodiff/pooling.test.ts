/** Pooling against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { buildModel } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

/** No two values nearer than differences reach: a maximum stays the maximum. */
function distinct(dims: readonly number[], seed: number): Tensor {
  const random = pseudoRandom(seed);
  const count = dims.reduce((a, b) => a * b, 1);
  const order = Array.from({ length: count }, (_, at) => at).sort(() => random.uniform() - 0.5);
  return float32Tensor(
    dims,
    Float32Array.from(order, (at) => at * 0.05),
  );
}

interface Case {
  readonly opType: string;
  readonly x: readonly number[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly opset?: number;
}

const pool = (
  opType: string,
  x: readonly number[],
  sizes: Record<string, readonly number[]>,
  more: Record<string, Attribute> = {},
  opset = 17,
): Case => ({
  ...{ opType, x, opset },
  attributes: { ...Object.fromEntries(Object.entries(sizes).map(([name, values]) => [name, attributeOf.ints(values)])), ...more },
});
const one = attributeOf.int(1);

const pools: readonly Case[] = [
  pool('MaxPool', [2, 3, 6, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('MaxPool', [2, 3, 7, 5], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('MaxPool', [2, 3, 6, 6], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1] }),
  pool('MaxPool', [2, 3, 7, 7], { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 1, 1] }, { ceil_mode: one }),
  pool('MaxPool', [2, 3, 9], { kernel_shape: [3], strides: [3] }),
  pool('MaxPool', [2, 3, 8, 8], { kernel_shape: [2, 2], dilations: [2, 3] }),
  pool('MaxPool', [2, 3, 6, 8], { kernel_shape: [2, 2], strides: [2, 2] }, { storage_order: one }),
  pool('MaxPool', [2, 3, 6, 8], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }, { storage_order: one }),
  pool('MaxPool', [2, 2, 4, 6, 4], { kernel_shape: [2, 2, 2], strides: [2, 2, 2] }),
  ...['SAME_UPPER', 'SAME_LOWER', 'VALID'].flatMap((mode) =>
    ['MaxPool', 'AveragePool'].map((opType) =>
      pool(opType, [2, 2, 7, 6], { kernel_shape: [3, 2], strides: [2, 2] }, { auto_pad: attributeOf.string(mode) }),
    ),
  ),
  ...[0, 1].flatMap((counted) =>
    [
      [0, 0, 0, 0],
      [1, 1, 1, 1],
      [1, 0, 0, 1],
    ].map((pads) =>
      pool(
        'AveragePool',
        [2, 2, 8, 7],
        { kernel_shape: [3, 3], strides: [2, 2], pads },
        { ceil_mode: one, count_include_pad: attributeOf.int(counted) },
        21,
      ),
    ),
  ),
  pool('AveragePool', [2, 2, 8, 7], { kernel_shape: [2, 3], dilations: [2, 2], pads: [1, 1, 1, 1] }, {}, 21),
  pool('AveragePool', [2, 2, 8, 7], { kernel_shape: [2, 3], dilations: [2, 2], pads: [1, 1, 1, 1] }, { count_include_pad: one }, 21),
  pool('AveragePool', [1, 2, 4, 5, 4], { kernel_shape: [2, 2, 2], strides: [2, 1, 2] }),
  pool('AveragePool', [2, 3, 6, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('AveragePool', [2, 3, 6, 6], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1] }),
  pool('AveragePool', [2, 3, 6, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }, { count_include_pad: one }),
  pool('AveragePool', [2, 3, 7, 8], { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 0, 1] }),
  pool('AveragePool', [2, 3, 7], { kernel_shape: [3], strides: [2] }, { auto_pad: attributeOf.string('SAME_UPPER') }),
  { opType: 'GlobalAveragePool', x: [2, 3, 4, 5] },
  { opType: 'GlobalMaxPool', x: [2, 3, 4, 5] },
];

describe('pooling', () => {
  test.each(pools)('$opType of $x $attributes', async ({ opType, x, attributes = {}, opset = 17 }) => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: x }],
      outputs: [{ name: 'y', shape: null }],
      nodes: [{ opType, inputs: ['x'], outputs: ['y'], attributes }],
    });
    model.opsetImports.set('', opset);
    for (const seed of [1, 2]) {
      const [checked] = await checkGradients({ model, feeds: { x: distinct(x, seed) }, seed, elements: 60 });
      expect(checked?.largest).toBeGreaterThan(0.02);
      expect(checked?.error).toBeLessThan(4e-3);
    }
  });
});
