/** Pooling and normalization by p-norms, and normalizations without parameters, against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly opType: string;
  readonly x: readonly number[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

async function check({ opType, x, attributes = {} }: Case): Promise<void> {
  const model = buildModel({
    inputs: [{ name: 'x', shape: x }],
    outputs: [{ name: 'y', shape: null }],
    nodes: [{ opType, inputs: ['x'], outputs: ['y'], attributes }],
  });
  /** Axes of reductions became inputs in 18, and LpPool got dilations. */
  for (const opset of attributes.dilations ? [18] : [17, 18]) {
    model.opsetImports.set('', opset);
    const seed = opset - 16;
    const [checked] = await checkGradients({ model, feeds: { x: weights(x, 6 + seed) }, seed, step: 3e-3 });
    expect(checked?.largest).toBeGreaterThan(0.02);
    expect(checked?.error).toBeLessThan(4e-3);
  }
}

const { int, ints, float, string } = attributeOf;

describe('p-norms', () => {
  const pooled = (x: readonly number[], attributes: Readonly<Record<string, Attribute>>): Case => ({ opType: 'LpPool', x, attributes });
  test.each([
    pooled([2, 3, 6, 4], { kernel_shape: ints([2, 2]), strides: ints([2, 2]) }),
    pooled([1, 2, 5, 5], { kernel_shape: ints([3, 2]), pads: ints([1, 0, 1, 1]) }),
    pooled([1, 2, 6, 5], { kernel_shape: ints([2, 3]), strides: ints([2, 1]), p: int(3) }),
    pooled([1, 2, 6, 5], { kernel_shape: ints([2, 2]), p: int(1) }),
    pooled([2, 2, 9], { kernel_shape: ints([3]), strides: ints([2]), auto_pad: string('SAME_UPPER') }),
    pooled([1, 1, 7, 7], { kernel_shape: ints([2, 2]), dilations: ints([2, 3]) }),
    { opType: 'GlobalLpPool', x: [2, 3, 4, 2] },
    { opType: 'GlobalLpPool', x: [2, 3, 5], attributes: { p: int(3) } },
    { opType: 'GlobalLpPool', x: [2, 3, 5], attributes: { p: int(1) } },
    { opType: 'LpNormalization', x: [2, 3, 4] },
    { opType: 'LpNormalization', x: [2, 3, 4], attributes: { axis: int(1) } },
    { opType: 'LpNormalization', x: [2, 3, 4], attributes: { axis: int(0), p: int(1) } },
  ])('$opType of $x, p $attributes.p.value', check);
});

describe('MeanVarianceNormalization', () => {
  test.each([
    { opType: 'MeanVarianceNormalization', x: [2, 3, 4, 2] },
    { opType: 'MeanVarianceNormalization', x: [2, 3, 4, 2], attributes: { axes: ints([2, 3]) } },
    { opType: 'MeanVarianceNormalization', x: [3, 4], attributes: { axes: ints([1]) } },
  ])('of $x', check);
});

describe('LRN', () => {
  test.each([1, 3, 5].map((size) => ({ size })))('over $size channels', ({ size }) =>
    check({ opType: 'LRN', x: [2, 5, 3, 2], attributes: { size: int(size), alpha: float(0.8), beta: float(0.6), bias: float(1.5) } }),
  );
  test('as its defaults have it', () => check({ opType: 'LRN', x: [1, 4, 2, 2], attributes: { size: int(3) } }));
});
