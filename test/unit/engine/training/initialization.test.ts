/** Fresh weights: as large as the fan-in allows, the same for the same seed. */
import { expect, test } from 'vitest';
import { attributeOf, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import { initialize } from '../../../../services/engine/training/initialization.js';
import { ModelBuilder, noise } from '../quantization/method-fixtures.js';

function network(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 3, 8, 8]);
  const conv = builder.node('Conv', [x, builder.constant('w', noise([64, 3, 3, 3], 1)), builder.constant('b', noise([64], 2))]);
  const statistics = ['mean', 'variance'].map((name) => builder.constant(name, noise([64], 3)));
  const normal = builder.node('BatchNormalization', [
    conv,
    builder.constant('scale', noise([64], 4)),
    builder.constant('shift', noise([64], 5)),
    ...statistics,
  ]);
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [normal])]);
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([10, 64], 6))], { transB: attributeOf.int(1) }), [
    'n',
    10,
  ]).model;
}

const valuesOf = (model: Model): Map<string, Float32Array> =>
  new Map([...model.graph.initializers].map(([value, tensor]) => [value.name, float32Values(tensor)]));

test('weights are uniform within 1 / sqrt(fan-in), scales one, shifts zero; statistics stay', () => {
  const model = network();
  initialize(model, 7);
  const found = valuesOf(model);
  for (const [name, fan] of [
    ['w', 27],
    ['b', 27],
    ['head', 64],
  ] as const) {
    const values = [...(found.get(name) ?? [])];
    const bound = 1 / Math.sqrt(fan);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(bound);
    const power = values.reduce((sum, value) => sum + value ** 2, 0) / values.length;
    expect(power).toBeGreaterThan((bound ** 2 / 3) * 0.6);
    expect(power).toBeLessThan((bound ** 2 / 3) * 1.4);
  }
  expect(new Set(found.get('scale'))).toEqual(new Set([1]));
  expect(new Set(found.get('shift'))).toEqual(new Set([0]));
  expect(found.get('mean')).toEqual(float32Values(noise([64], 3)));
});

test('a seed is a network', () => {
  const [first, same, other] = [network(), network(), network()];
  initialize(first, 1);
  initialize(same, 1);
  initialize(other, 2);
  expect(valuesOf(same)).toEqual(valuesOf(first));
  expect(valuesOf(other).get('w')).not.toEqual(valuesOf(first).get('w'));
});
