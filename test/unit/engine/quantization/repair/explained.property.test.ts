/** Whatever way a graph is quantized: each node that the runtime leaves in float has a finding that says why, and the repair keeps the numbers. */
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { attributeOf, type Model } from '../../../../../services/engine/ir/index.js';
import { examineModel } from '../../../../../services/engine/pipeline/examine-model.js';
import { weights } from '../../../../support/build-model.js';
import { QdqModel } from '../../../../support/qdq-model.js';
import { blank, removeScratch, repaired, runtime } from './repair-fixtures.js';

afterAll(removeScratch);

const operators = [
  'Conv',
  'float Conv',
  'Conv wrong bias',
  'Conv float bias',
  'Add self',
  'Add constant',
  'Mul uniform',
  'Add earlier',
  'Concat',
  'Relu',
  'Tanh',
  'MaxPool',
  'Transpose',
] as const;

interface Step {
  readonly operator: (typeof operators)[number];
  /** What follows: nothing, a pair of a type, or the pair of the step before once more. */
  readonly pair: 'none' | 'uint8' | 'int8' | 'same';
  readonly scale: number;
  readonly zeroPoint: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  operator: fc.constantFrom(...operators),
  pair: fc.constantFrom('uint8', 'uint8', 'int8', 'same', 'none'),
  scale: fc.constantFrom(0.02, 0.05),
  zeroPoint: fc.constantFrom(0, 100),
});

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** Images of 4 channels all along; Concat is followed by a convolution back to 4. */
function chain(steps: readonly Step[]): Model {
  const model = new QdqModel();
  let parameters = { scale: 0.05, zeroPoint: 100, type: 'uint8' as 'uint8' | 'int8' };
  let value = model.pair(model.input('x', [1, 4, 6, 6]), parameters);
  let earlier = value;
  for (const [at, { operator, pair, scale, zeroPoint }] of steps.entries()) {
    const weight = () => model.weight(`w${at}`, [4, 4, 3, 3], { axis: 0, seed: at + 1 });
    const before = value;
    switch (operator) {
      case 'Conv':
        value = model.node('Conv', [value, weight().value], { attributes: pads });
        break;
      case 'float Conv':
        value = model.node('Conv', [value, model.constant(`f${at}`, weights([4, 4, 3, 3], at + 1))], { attributes: pads });
        break;
      case 'Conv wrong bias': {
        const { value: codes, scales } = weight();
        value = model.node('Conv', [value, codes, model.bias(`b${at}`, 4, { scales, input: parameters.scale, factor: 1.7 })], {
          attributes: pads,
        });
        break;
      }
      case 'Conv float bias':
        value = model.node('Conv', [value, weight().value, model.constant(`fb${at}`, weights([4], at + 3))], { attributes: pads });
        break;
      case 'Add self':
        value = model.node('Add', [value, value]);
        break;
      case 'Add constant':
        value = model.node('Add', [value, model.constant(`c${at}`, weights([1, 4, 1, 1], at + 1))]);
        break;
      case 'Mul uniform':
        value = model.node('Mul', [value, model.constant(`u${at}`, weights([1], 1))]);
        break;
      case 'Add earlier':
        value = model.node('Add', [value, earlier]);
        break;
      case 'Concat':
        value = model.node('Concat', [value, earlier], { attributes: { axis: attributeOf.int(1) } });
        value = model.node('Conv', [value, model.weight(`wc${at}`, [4, 8, 1, 1], { seed: at + 1 }).value]);
        break;
      case 'MaxPool':
        value = model.node('MaxPool', [value], { attributes: { kernel_shape: attributeOf.ints([3, 3]), ...pads } });
        break;
      case 'Transpose':
        value = model.node('Transpose', [value], { attributes: { perm: attributeOf.ints([0, 1, 3, 2]) } });
        break;
      default:
        value = model.node(operator, [value]);
    }
    if (pair === 'none') continue;
    if (pair !== 'same') parameters = { scale, zeroPoint, type: pair };
    value = model.pair(value, parameters);
    if (at % 2 === 0) earlier = before;
  }
  return model.output(value).build();
}

it('every node left in float is explained, before and after an equal repair', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      const source = chain(steps);
      expect((await examineModel(source, runtime, blank.scratch)).unexplained).toEqual([]);
      const { model, outcome } = await repaired(source, undefined);
      expect(outcome.warnings).toEqual([]);
      expect((await examineModel(model, runtime, blank.scratch)).unexplained).toEqual([]);
    }),
    { numRuns: Number(process.env.RUNS ?? 40) },
  );
});
