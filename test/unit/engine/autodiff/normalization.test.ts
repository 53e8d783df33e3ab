/** Normalizations against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
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

interface Statistics {
  readonly opType: string;
  readonly x: readonly number[];
  /** Inputs behind x that are differentiated as well. */
  readonly others: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Outputs that make the loss; default: all. */
  readonly read?: readonly string[];
}

async function checkStatistics({ opType, x, others, outputs, read = outputs, attributes = {} }: Statistics): Promise<void> {
  const model = buildModel({
    inputs: [{ name: 'x', shape: x }, ...Object.entries(others).map(([name, { dims }]) => ({ name, shape: dims }))],
    outputs: read.map((name) => ({ name, shape: null })),
    nodes: [{ opType, inputs: ['x', ...Object.keys(others)], outputs, attributes }],
  });
  for (const seed of [1, 2]) {
    for (const { error, largest } of await checkGradients({ model, feeds: { x: weights(x, seed), ...others }, seed, elements: 40 })) {
      expect(largest).toBeGreaterThan(0.02);
      expect(error).toBeLessThan(4e-3);
    }
  }
}

describe('BatchNormalization', () => {
  const shapes = [
    [6, 3],
    [4, 3, 5],
    [2, 3, 4, 5],
  ];
  const affine = { scale: weights([3], 2), bias: weights([3], 3) };
  const running = { mean: float32Tensor([3], [0.1, -0.2, 0.3]), variance: float32Tensor([3], [0.5, 1, 2]) };
  const outputs = ['y', 'new_mean', 'new_variance'];

  test.each(shapes)('by fixed statistics, theirs too, of %j, %j, %j, %j', (...x) =>
    checkStatistics({ opType: 'BatchNormalization', x: x.filter((size) => size), others: { ...affine, ...running }, outputs: ['y'] }),
  );

  const byBatch = [0, 0.5, 0.9].flatMap((momentum) => shapes.map((x) => ({ momentum, x })));
  const attributesOf = (momentum: number) => ({ training_mode: attributeOf.int(1), momentum: attributeOf.float(momentum) });
  test.each(byBatch)('by the batch with momentum $momentum, of $x', async ({ momentum, x }) => {
    const model = buildModel({
      inputs: [
        { name: 'x', shape: x },
        { name: 'scale', shape: [3] },
        { name: 'bias', shape: [3] },
      ],
      outputs: [{ name: 'y', shape: x }],
      constants: running,
      nodes: [
        {
          opType: 'BatchNormalization',
          inputs: ['x', 'scale', 'bias', 'mean', 'variance'],
          outputs,
          attributes: attributesOf(momentum),
        },
      ],
    });
    for (const { error, largest } of await checkGradients({ model, feeds: { x: weights(x, 1), ...affine }, elements: 40 })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(4e-3);
    }
  });

  test.each(shapes)('by the batch, statistics read and differentiated, of %j, %j, %j, %j', (...x) =>
    checkStatistics({
      ...{ opType: 'BatchNormalization', x: x.filter((size) => size), others: { ...affine, ...running }, outputs },
      attributes: attributesOf(0.5),
    }),
  );
});

describe('statistics of rows', () => {
  const affine = { scale: weights([6], 2), bias: weights([6], 3) };
  const outputs = ['y', 'mean', 'inverse'];
  test('LayerNormalization, all outputs read', () =>
    checkStatistics({ opType: 'LayerNormalization', x: [4, 3, 6], others: affine, outputs }));
  test('SimplifiedLayerNormalization, both outputs read', () =>
    checkStatistics({ opType: 'SimplifiedLayerNormalization', x: [4, 3, 6], others: { scale: affine.scale }, outputs: ['y', 'inverse'] }));
});
