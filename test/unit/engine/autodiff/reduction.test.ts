/** Reductions and functions along an axis against central differences. */
import { describe, expect, test } from 'vitest';
import { axisFunctionRules } from '../../../../services/engine/autodiff/rules/axis-functions.js';
import { reductionRules } from '../../../../services/engine/autodiff/rules/reduction.js';
import { attributeOf, float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { buildModel } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

/** Between 0.4 and 2, no two nearer than differences reach. */
function distinct(dims: readonly number[], seed: number): Tensor {
  const random = pseudoRandom(seed);
  const count = dims.reduce((a, b) => a * b, 1);
  const order = Array.from({ length: count }, (_, at) => at).sort(() => random.uniform() - 0.5);
  return float32Tensor(
    dims,
    Float32Array.from(order, (at) => 0.4 + (1.6 * at) / count),
  );
}

const forms = [
  { axes: [1], keepdims: 1, y: [2, 1, 4] },
  { axes: [-1, 0], keepdims: 0, y: [3] },
  { axes: [], keepdims: 0, y: [] },
  { axes: [], keepdims: 1, y: [1, 1, 1] },
];

describe('reductions', () => {
  const cases = Object.keys(reductionRules).flatMap((opType) =>
    forms.flatMap((form) => (opType === 'ReduceSum' ? [13] : [13, 18]).map((opset) => ({ opType, ...form, opset }))),
  );
  test.each(cases)('$opType over $axes, keepdims $keepdims, operator set $opset', async ({ opType, axes, keepdims, y, opset }) => {
    const asInput = opset >= 18 || opType === 'ReduceSum';
    const given = axes.length > 0;
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2, 3, 4] }],
      outputs: [{ name: 'y', shape: y }],
      constants: asInput && given ? { axes: int64Tensor([axes.length], axes) } : {},
      nodes: [
        {
          opType,
          inputs: asInput && given ? ['x', 'axes'] : ['x'],
          outputs: ['y'],
          attributes: { keepdims: attributeOf.int(keepdims), ...(asInput || !given ? {} : { axes: attributeOf.ints(axes) }) },
        },
      ],
    });
    model.opsetImports.set('', opset);
    const [checked] = await checkGradients({ model, feeds: { x: distinct([2, 3, 4], 5) }, step: 4e-3 });
    expect(checked?.largest).toBeGreaterThan(0.01);
    expect(checked?.error).toBeLessThan(5e-3);
  });

  test('nothing is reduced where no axes mean none', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2, 3] }],
      outputs: [{ name: 'y', shape: [2, 3] }],
      nodes: [{ opType: 'ReduceSumSquare', inputs: ['x'], outputs: ['y'], attributes: { noop_with_empty_axes: attributeOf.int(1) } }],
    });
    model.opsetImports.set('', 18);
    const [checked] = await checkGradients({ model, feeds: { x: distinct([2, 3], 1) } });
    expect(checked?.largest).toBeGreaterThan(0.02);
    expect(checked?.error).toBeLessThan(5e-3);
  });
});

describe('functions along an axis', () => {
  const cases = Object.keys(axisFunctionRules)
    .filter((name) => name !== 'CumSum')
    .flatMap((opType) => [undefined, 0, 1, -1].map((axis) => ({ opType, axis })));
  test.each(cases)('$opType, axis $axis', async ({ opType, axis }) => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2, 3, 4] }],
      outputs: [{ name: 'y', shape: [2, 3, 4] }],
      nodes: [{ opType, inputs: ['x'], outputs: ['y'], attributes: axis === undefined ? {} : { axis: attributeOf.int(axis) } }],
    });
    for (const seed of [1, 2]) {
      const [checked] = await checkGradients({ model, feeds: { x: distinct([2, 3, 4], seed) }, seed });
      expect(checked?.largest).toBeGreaterThan(0.02);
      expect(checked?.error).toBeLessThan(2e-3);
    }
  });
});
