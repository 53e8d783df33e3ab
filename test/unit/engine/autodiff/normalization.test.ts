/** Normalizations against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly opType: string;
  readonly x: readonly number[];
  readonly scale: readonly number[];
  readonly bias?: readonly number[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly opset?: number;
}

const cases: readonly Case[] = [
  { opType: 'LayerNormalization', x: [3, 4, 6], scale: [6], bias: [6] },
  { opType: 'LayerNormalization', x: [3, 4, 6], scale: [4, 6], bias: [4, 6], attributes: { axis: attributeOf.int(1) } },
  { opType: 'LayerNormalization', x: [3, 6], scale: [6], attributes: { epsilon: attributeOf.float(0.1) } },
  { opType: 'LayerNormalization', x: [3, 4, 6], scale: [6], bias: [6], opset: 18 },
  { opType: 'InstanceNormalization', x: [2, 3, 4, 5], scale: [3], bias: [3] },
  { opType: 'InstanceNormalization', x: [2, 3, 7], scale: [3], bias: [3], opset: 18 },
  { opType: 'GroupNormalization', x: [2, 6, 4, 3], scale: [3], bias: [3], attributes: { num_groups: attributeOf.int(3) }, opset: 18 },
  { opType: 'GroupNormalization', x: [2, 6, 4, 3], scale: [6], bias: [6], attributes: { num_groups: attributeOf.int(3) }, opset: 21 },
  { opType: 'RMSNormalization', x: [3, 4, 6], scale: [6], opset: 23 },
  { opType: 'SimplifiedLayerNormalization', x: [3, 4, 6], scale: [6] },
];

describe('normalizations', () => {
  test.each(cases)('$opType of $x, scale $scale, operator set $opset', async ({ opType, x, scale, bias, attributes = {}, opset = 17 }) => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: x }, { name: 'scale', shape: scale }, ...(bias ? [{ name: 'bias', shape: bias }] : [])],
      outputs: [{ name: 'y', shape: x }],
      nodes: [{ opType, inputs: ['x', 'scale', ...(bias ? ['bias'] : [])], outputs: ['y'], attributes }],
    });
    model.opsetImports.set('', opset);
    const feeds = { x: weights(x, 1), scale: weights(scale, 2), ...(bias ? { bias: weights(bias, 3) } : {}) };
    for (const { error, largest } of await checkGradients({ model, feeds, elements: 40 })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(4e-3);
    }
  });
});

describe('BatchNormalization', () => {
  const shapes = [
    [6, 3],
    [4, 3, 5],
    [2, 3, 4, 5],
  ];
  const constants = { mean: float32Tensor([3], [0.1, -0.2, 0.3]), variance: float32Tensor([3], [0.5, 1, 2]) };
  test.each(shapes.flatMap((x) => [false, true].map((trains) => ({ x, trains }))))(
    'of $x, by the batch: $trains',
    async ({ x, trains }) => {
      const model = buildModel({
        inputs: [
          { name: 'x', shape: x },
          { name: 'scale', shape: [3] },
          { name: 'bias', shape: [3] },
        ],
        outputs: [{ name: 'y', shape: x }],
        constants,
        nodes: [
          {
            opType: 'BatchNormalization',
            inputs: ['x', 'scale', 'bias', 'mean', 'variance'],
            outputs: trains ? ['y', 'batch_mean', 'batch_variance'] : ['y'],
            attributes: trains ? { training_mode: attributeOf.int(1), momentum: attributeOf.float(0) } : {},
          },
        ],
      });
      const feeds = { x: weights(x, 1), scale: weights([3], 2), bias: weights([3], 3) };
      for (const { error, largest } of await checkGradients({ model, feeds, elements: 40 })) {
        expect(largest).toBeGreaterThan(0.05);
        expect(error).toBeLessThan(4e-3);
      }
    },
  );
});
