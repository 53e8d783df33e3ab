/** Operators that change the resolution of a map, against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly x: readonly number[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly scales?: readonly number[];
  readonly sizes?: readonly number[];
  readonly roi?: readonly number[];
}

const { int, ints, float, string } = attributeOf;

/** They are linear: steps of any size are exact up to rounding. */
async function check(opType: string, { x, attributes = {}, scales, sizes, roi }: Case): Promise<void> {
  const constants: Record<string, Tensor> = {
    ...(roi ? { roi: float32Tensor([roi.length], roi) } : {}),
    ...(scales ? { scales: float32Tensor([scales.length], scales) } : {}),
    ...(sizes ? { sizes: int64Tensor([sizes.length], sizes) } : {}),
  };
  const operands = opType === 'Resize' ? [roi ? 'roi' : '', scales ? 'scales' : '', ...(sizes ? ['sizes'] : [])] : [];
  const model = buildModel({
    inputs: [{ name: 'x', shape: x }],
    outputs: [{ name: 'y', shape: null }],
    constants,
    nodes: [{ opType, inputs: ['x', ...operands], outputs: ['y'], attributes }],
  });
  model.opsetImports.set('', 19);
  for (const seed of [1, 2]) {
    const [checked] = await checkGradients({ model, feeds: { x: weights(x, seed) }, seed, step: 0.1, elements: 60 });
    expect(checked?.largest).toBeGreaterThan(0.05);
    expect(checked?.error).toBeLessThan(1e-3);
  }
}

describe('DepthToSpace', () => {
  test.each([
    { x: [2, 8, 3, 2], attributes: { blocksize: int(2) } },
    { x: [2, 18, 3, 2], attributes: { blocksize: int(3), mode: string('CRD') } },
    { x: [1, 18, 2, 3], attributes: { blocksize: int(3), mode: string('DCR') } },
  ])('of $x', (each) => check('DepthToSpace', each));
});

describe('SpaceToDepth', () => {
  test.each([2, 3].map((size) => ({ size })))('by $size', ({ size }) =>
    check('SpaceToDepth', { x: [2, 3, 2 * size, 3 * size], attributes: { blocksize: int(size) } }),
  );
});

const coordinates = ['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel', 'half_pixel_symmetric'];

describe('Resize to nearest', () => {
  /** 2.1 and 2.2 of 3 and 4 are rounded to sizes twice as large, yet no repetition. */
  const factors = [
    [1, 1, 2, 2],
    [1, 1, 2.1, 2.2],
    [1, 1, 1.5, 0.7],
    [1, 1, 3, 4],
    [1, 1, 0.5, 1],
  ];
  const roundings = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'];
  const cases = roundings.flatMap((rounding) =>
    coordinates.flatMap((coordinate) => factors.map((scales) => ({ rounding, coordinate, scales }))),
  );
  test.each(cases)('$rounding, $coordinate, $scales', ({ rounding, coordinate, scales }) =>
    check('Resize', {
      ...{ x: [1, 2, 3, 4], scales },
      attributes: { nearest_mode: string(rounding), coordinate_transformation_mode: string(coordinate) },
    }),
  );
});

describe('Resize', () => {
  const given: readonly Pick<Case, 'scales' | 'sizes'>[] = [
    { scales: [1, 1, 2, 3] },
    { scales: [1, 1, 1.5, 0.75] },
    { sizes: [2, 2, 7, 9] },
  ];
  const cases = ['nearest', 'linear', 'cubic'].flatMap((mode) =>
    coordinates.flatMap((coordinate) => given.map((sized) => ({ mode, coordinate, sized }))),
  );
  test.each(cases)('$mode, $coordinate, $sized', ({ mode, coordinate, sized }) =>
    check('Resize', {
      ...{ x: [2, 2, 4, 4], ...sized },
      attributes: { mode: string(mode), coordinate_transformation_mode: string(coordinate) },
    }),
  );

  const [linear, cubic] = [string('linear'), string('cubic')];
  const axes = ints([2, 3]);
  const special: readonly (Case & { name: string })[] = [
    { name: 'antialias, linear', x: [1, 2, 8, 8], sizes: [1, 2, 4, 3], attributes: { mode: linear, antialias: int(1) } },
    { name: 'antialias, cubic', x: [1, 2, 8, 8], sizes: [1, 2, 4, 3], attributes: { mode: cubic, antialias: int(1) } },
    {
      name: 'cubic without what is outside',
      x: [1, 2, 5, 4],
      scales: [1, 1, 1.7, 2.3],
      attributes: { mode: cubic, exclude_outside: int(1), cubic_coeff_a: float(-0.5) },
    },
    { name: 'axes', x: [1, 2, 5, 4], scales: [2, 3], attributes: { mode: linear, axes } },
    { name: 'axes from the end', x: [1, 2, 5, 4], scales: [2.5, 3.1], attributes: { mode: linear, axes: ints([-2, -1]) } },
    { name: 'axes in another order', x: [1, 2, 5, 4], scales: [2.5, 3.1], attributes: { mode: linear, axes: ints([3, 2]) } },
    ...['not_larger', 'not_smaller'].map((policy) => ({
      ...{ name: policy, x: [1, 2, 5, 4], sizes: [9, 9] },
      attributes: { mode: linear, axes, keep_aspect_ratio_policy: string(policy) },
    })),
    { name: 'one axis', x: [1, 2, 5], scales: [1, 1, 2.3], attributes: { mode: linear } },
    { name: 'three axes', x: [1, 2, 3, 4, 3], scales: [1, 1, 2, 1.5, 1.4], attributes: { mode: linear } },
  ];
  test.each(special)('$name', (each) => check('Resize', each));
});

describe('Resize of a region', () => {
  const crop = string('tf_crop_and_resize');
  const inside = [0, 0, 0.1, 0.2, 1, 1, 0.8, 0.9];
  const cases = ['nearest', 'linear', 'cubic'].flatMap((mode) => [
    { mode, sizes: [1, 2, 4, 3], roi: inside },
    { mode, sizes: [1, 2, 5, 6], roi: inside },
    { mode, sizes: [1, 2, 7, 4], roi: [0, 0, -0.3, 0.2, 1, 1, 1.2, 1.3] },
  ]);
  test.each(cases)('$mode, $roi to $sizes', ({ mode, sizes, roi }) =>
    check('Resize', {
      ...{ x: [1, 2, 5, 6], sizes, roi },
      attributes: { mode: string(mode), coordinate_transformation_mode: crop, extrapolation_value: float(5) },
    }),
  );
  test('of some axes', () =>
    check('Resize', {
      ...{ x: [1, 2, 5, 6], sizes: [4, 3], roi: [0.1, 0.2, 0.8, 0.9] },
      attributes: { mode: string('linear'), axes: ints([2, 3]), coordinate_transformation_mode: crop },
    }));
});
