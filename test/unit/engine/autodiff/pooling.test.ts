/** Pooling and resampling against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { buildModel, weights } from '../../../support/build-model.js';
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
  pool('AveragePool', [2, 3, 6, 4], { kernel_shape: [2, 2], strides: [2, 2] }),
  pool('AveragePool', [2, 3, 6, 6], { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1] }),
  pool('AveragePool', [2, 3, 6, 6], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }, { count_include_pad: one }),
  pool('AveragePool', [2, 3, 7, 8], { kernel_shape: [3, 2], strides: [2, 3], pads: [1, 0, 0, 1] }),
  pool('AveragePool', [2, 3, 7], { kernel_shape: [3], strides: [2] }, { auto_pad: attributeOf.string('SAME_UPPER') }),
  { opType: 'GlobalAveragePool', x: [2, 3, 4, 5] },
  { opType: 'GlobalMaxPool', x: [2, 3, 4, 5] },
  { opType: 'DepthToSpace', x: [2, 8, 3, 2], attributes: { blocksize: attributeOf.int(2) } },
  { opType: 'DepthToSpace', x: [2, 18, 3, 2], attributes: { blocksize: attributeOf.int(3), mode: attributeOf.string('CRD') } },
  { opType: 'SpaceToDepth', x: [2, 3, 4, 6], attributes: { blocksize: attributeOf.int(2) } },
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

describe('Resize', () => {
  const modes = ['nearest', 'linear', 'cubic'];
  const coordinates = ['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'];
  const sizes = [{ scales: [1, 1, 2, 3] }, { scales: [1, 1, 1.5, 0.75] }, { sizes: [2, 2, 7, 9] }];
  const cases = modes.flatMap((mode) => coordinates.flatMap((coordinate) => sizes.map((given) => ({ mode, coordinate, given }))));
  test.each(cases)('$mode, $coordinate, $given', async ({ mode, coordinate, given }) => {
    const x = [2, 2, 4, 4];
    const operand = 'scales' in given ? { scales: float32Tensor([4], given.scales ?? []) } : { sizes: int64Tensor([4], given.sizes ?? []) };
    const model = buildModel({
      inputs: [{ name: 'x', shape: x }],
      outputs: [{ name: 'y', shape: null }],
      constants: operand,
      nodes: [
        {
          opType: 'Resize',
          inputs: ['x', '', ...('scales' in given ? ['scales'] : ['', 'sizes'])],
          outputs: ['y'],
          attributes: { mode: attributeOf.string(mode), coordinate_transformation_mode: attributeOf.string(coordinate) },
        },
      ],
    });
    const [checked] = await checkGradients({ model, feeds: { x: weights(x, 1) }, elements: 32 });
    expect(checked?.largest).toBeGreaterThan(0.05);
    expect(checked?.error).toBeLessThan(2e-3);
  });
});
