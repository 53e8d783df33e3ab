/** Padding, cropping, reversing and casting against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, int64Tensor, type Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly opType: string;
  readonly x: readonly number[];
  readonly constants: Readonly<Record<string, Tensor>>;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

async function check({ opType, x, constants, attributes = {} }: Case): Promise<void> {
  const model = buildModel({
    inputs: [{ name: 'x', shape: x }],
    outputs: [{ name: 'y', shape: null }],
    constants,
    nodes: [{ opType, inputs: ['x', ...Object.keys(constants)], outputs: ['y'], attributes }],
  });
  model.opsetImports.set('', 19);
  const [checked] = await checkGradients({ model, feeds: { x: weights(x, 3) }, elements: 40 });
  expect(checked?.largest).toBeGreaterThan(0.02);
  expect(checked?.error).toBeLessThan(1e-3);
}

const ints = (...values: number[]): Tensor => int64Tensor([values.length], values);

describe('Pad by copies', () => {
  const padded = (mode: string, x: readonly number[], ...pads: number[]): Case => ({
    ...{ opType: 'Pad', x, constants: { pads: ints(...pads) }, attributes: { mode: attributeOf.string(mode) } },
  });
  test.each([
    ...['reflect', 'edge', 'wrap'].flatMap((mode) => [
      padded(mode, [5], 2, 3),
      padded(mode, [2, 4], 0, 2, 0, 0),
      padded(mode, [1, 2, 4, 5], 0, 0, 1, 2, 0, 0, 3, 0),
      padded(mode, [3, 3], 2, 1, 1, 2),
    ]),
    padded('edge', [2, 2], 4, 0, 1, 5),
  ])('$attributes.mode.value of $x by $constants.pads.dims numbers', check);

  test('negative numbers are refused by name', async () => {
    await expect(check(padded('edge', [2, 4], 0, -1, 0, 2))).rejects.toThrow('Pad (node "y") has no gradient here');
  });
});

describe('CenterCropPad', () => {
  test.each([
    { x: [5, 7], shape: [3, 4] },
    { x: [3, 4], shape: [6, 9] },
    { x: [4, 5], shape: [7, 2] },
    { x: [4, 5], shape: [4, 5] },
  ])('$x to $shape', ({ x, shape }) => check({ opType: 'CenterCropPad', x, constants: { shape: ints(...shape) } }));

  test('only some axes', () =>
    check({ opType: 'CenterCropPad', x: [2, 5, 4], constants: { shape: ints(3, 7) }, attributes: { axes: attributeOf.ints([1, -1]) } }));
});

describe('ReverseSequence', () => {
  test('time first', () => check({ opType: 'ReverseSequence', x: [4, 3, 2], constants: { lengths: ints(4, 2, 1) } }));

  test('batch first', () =>
    check({
      ...{ opType: 'ReverseSequence', x: [3, 4, 2], constants: { lengths: ints(3, 4, 2) } },
      attributes: { batch_axis: attributeOf.int(0), time_axis: attributeOf.int(1) },
    }));
});

describe('CastLike', () => {
  test('a float stays one', () => check({ opType: 'CastLike', x: [3, 2], constants: { like: weights([1], 1) } }));

  test('an integer does not move', async () => {
    const like = { like: tensorOf('int32', [1], Int32Array.of(1)) };
    const model = buildModel({
      inputs: [{ name: 'x', shape: [3] }],
      outputs: [{ name: 'y', shape: [3] }],
      constants: like,
      nodes: [
        { opType: 'CastLike', inputs: ['x', 'like'], outputs: ['whole'] },
        { opType: 'Cast', inputs: ['whole'], outputs: ['back'], attributes: { to: attributeOf.int(1) } },
        { opType: 'Mul', inputs: ['back', 'x'], outputs: ['y'] },
      ],
    });
    const [checked] = await checkGradients({ model, feeds: { x: tensorOf('float32', [3], Float32Array.of(1.4, 2.6, -3.3)) } });
    expect(checked?.error).toBeLessThan(1e-3);
  });
});

test('a cast to another float is refused, as its gradient would be lost without a word', async () => {
  const model = buildModel({
    inputs: [{ name: 'x', shape: [3] }],
    outputs: [{ name: 'y', shape: [3] }],
    nodes: [
      { opType: 'Cast', inputs: ['x'], outputs: ['wide'], attributes: { to: attributeOf.int(11) } },
      { opType: 'Cast', inputs: ['wide'], outputs: ['y'], attributes: { to: attributeOf.int(1) } },
    ],
  });
  await expect(checkGradients({ model, feeds: { x: weights([3], 1) } })).rejects.toThrow('Cast (node "wide") has no gradient rule');
});
