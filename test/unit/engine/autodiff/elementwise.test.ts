/** Every elementwise rule against central differences, broadcasting included. */
import { describe, expect, test } from 'vitest';
import { binaryRules } from '../../../../services/engine/autodiff/rules/elementwise-binary.js';
import { unaryRules } from '../../../../services/engine/autodiff/rules/elementwise-unary.js';
import { type Attribute, attributeOf, float32Tensor, int64Tensor, type Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { buildModel } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

/** Values between `low` and `high`, none nearer to one of `kinks` than differences reach. */
function values(dims: readonly number[], seed: number, { low = -2, high = 2, kinks = [0] as readonly number[] } = {}): Tensor {
  const random = pseudoRandom(seed);
  const draw = (): number => {
    const value = low + (high - low) * random.uniform();
    return kinks.some((kink) => Math.abs(value - kink) < 0.05) ? draw() : value;
  };
  return float32Tensor(dims, Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, draw));
}

const between = {
  Tan: [-1.1, 1.1],
  Acos: [-0.8, 0.8],
  Asin: [-0.8, 0.8],
  Atanh: [-0.8, 0.8],
  Acosh: [1.3, 3],
  Log: [0.4, 3],
  Sqrt: [0.4, 3],
} as const;
const kinks: Readonly<Record<string, readonly number[]>> = {
  HardSigmoid: [-2.5, 2.5],
  HardSwish: [-3, 3],
  Shrink: [-0.5, 0.5],
  ThresholdedRelu: [1],
  Clip: [-0.7, 1.1],
  Reciprocal: [0, 0.1, -0.1, 0.2, -0.2, 0.3, -0.3],
};
const attributes: Readonly<Record<string, readonly Readonly<Record<string, Attribute>>[]>> = {
  Celu: [{ alpha: attributeOf.float(1.5) }],
  Elu: [{ alpha: attributeOf.float(0.7) }],
  Gelu: [{}, { approximate: attributeOf.string('tanh') }],
  LeakyRelu: [{}, { alpha: attributeOf.float(0.3) }],
  Selu: [{}, { alpha: attributeOf.float(1.2), gamma: attributeOf.float(0.9) }],
  Swish: [{}, { alpha: attributeOf.float(1.7) }],
};
/** Versions that this runtime has no kernel for. */
const opsets: Readonly<Record<string, number>> = { Gelu: 20, Mish: 18, HardSwish: 14, Swish: 24 };

describe('functions of one input', () => {
  const cases = Object.keys(unaryRules).flatMap((opType) => (attributes[opType] ?? [{}]).map((given) => ({ opType, given })));
  test.each(cases)('$opType $given', async ({ opType, given }) => {
    const range = Object.hasOwn(between, opType) ? between[opType as keyof typeof between] : [-3.4, 3.4];
    const [low, high] = range;
    const model = buildModel({
      inputs: [{ name: 'x', shape: [5, 7] }],
      outputs: [{ name: 'y', shape: [5, 7] }],
      constants: opType === 'Clip' ? { low: float32Tensor([], [-0.7]), high: float32Tensor([], [1.1]) } : {},
      nodes: [{ opType, inputs: opType === 'Clip' ? ['x', 'low', 'high'] : ['x'], outputs: ['y'], attributes: given }],
    });
    model.opsetImports.set('', opsets[opType] ?? 17);
    for (const seed of [1, 2]) {
      const x = values([5, 7], seed, { low, high, kinks: [0, ...(kinks[opType] ?? [])] });
      const [checked] = await checkGradients({ model, feeds: { x }, seed, step: 4e-3, elements: 35 });
      expect(checked?.largest).toBeGreaterThan(0.1);
      expect(checked?.error).toBeLessThan(4e-3);
    }
  });
});

describe('functions of two inputs', () => {
  const shapes = [
    [
      [4, 3],
      [4, 3],
      [4, 3],
    ],
    [
      [2, 4, 3],
      [4, 1],
      [2, 4, 3],
    ],
    [[3], [2, 4, 3], [2, 4, 3]],
    [
      [2, 1, 3],
      [1, 4, 1],
      [2, 4, 3],
    ],
  ] as const;
  const names = Object.keys(binaryRules).filter((name) => name !== 'Where' && name !== 'PRelu');
  test.each(names)('%s, operands broadcast against each other', async (opType) => {
    for (const [index, [a, b, y]] of shapes.entries()) {
      const model = buildModel({
        inputs: [
          { name: 'a', shape: a },
          { name: 'b', shape: b },
        ],
        outputs: [{ name: 'y', shape: y }],
        nodes: [{ opType, inputs: ['a', 'b'], outputs: ['y'] }],
      });
      const positive = { low: 0.5, high: 2.5 };
      const feeds = { a: values(a, 3 + index, positive), b: values(b, 7 + index, positive) };
      for (const { error, largest } of await checkGradients({ model, feeds, step: 4e-3 })) {
        expect(largest).toBeGreaterThan(0.1);
        expect(error).toBeLessThan(5e-3);
      }
    }
  });

  test('PRelu and Where', async () => {
    const model = buildModel({
      inputs: [
        { name: 'x', shape: [2, 3, 4] },
        { name: 'slope', shape: [3, 1] },
        { name: 'other', shape: [1, 4] },
      ],
      outputs: [{ name: 'y', shape: [2, 3, 4] }],
      constants: { mask: tensorOf('bool', [3, 1], Uint8Array.of(1, 0, 1)) },
      nodes: [
        { opType: 'PRelu', inputs: ['x', 'slope'], outputs: ['p'] },
        { opType: 'Where', inputs: ['mask', 'p', 'other'], outputs: ['y'] },
      ],
    });
    const feeds = { x: values([2, 3, 4], 1), slope: values([3, 1], 2), other: values([1, 4], 3) };
    for (const { error, largest } of await checkGradients({ model, feeds })) {
      expect(largest).toBeGreaterThan(0.1);
      expect(error).toBeLessThan(2e-3);
    }
  });

  test.each([
    { exponent: float32Tensor([], [2]), kind: 'a square' },
    { exponent: float32Tensor([1], [-0.5]), kind: 'a root' },
    { exponent: int64Tensor([], [3]), kind: 'an integer' },
    { exponent: int64Tensor([2], [1, 2]), kind: 'several integers' },
  ])('Pow by $kind', async ({ exponent }) => {
    const model = buildModel({
      inputs: [{ name: 'a', shape: [3, 2] }],
      outputs: [{ name: 'y', shape: [3, 2] }],
      constants: { exponent },
      nodes: [{ opType: 'Pow', inputs: ['a', 'exponent'], outputs: ['y'] }],
    });
    for (const { error, largest } of await checkGradients({ model, feeds: { a: values([3, 2], 5, { low: 0.5, high: 2 }) }, step: 4e-3 })) {
      expect(largest).toBeGreaterThan(0.1);
      expect(error).toBeLessThan(2e-3);
    }
  });

  test('operands that tie share the gradient of Max', async () => {
    const model = buildModel({
      inputs: [
        { name: 'a', shape: [2] },
        { name: 'b', shape: [2] },
      ],
      outputs: [{ name: 'y', shape: [2] }],
      nodes: [{ opType: 'Max', inputs: ['a', 'b'], outputs: ['y'] }],
    });
    const same = float32Tensor([2], [1, 2]);
    for (const { error } of await checkGradients({ model, feeds: { a: same, b: same } })) expect(error).toBeLessThan(1e-3);
  });
});
