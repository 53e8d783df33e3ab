import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, type Model, type Node, type Value } from '../../../../services/engine/ir/index.js';
import { hasShiftableBias, shiftBias } from '../../../../services/engine/layers/bias-shift.js';
import { WeightStore } from '../../../../services/engine/layers/weight-store.js';
import { ModelBuilder, noise, outputsOf, removeScratch, transB } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

function producer(value: Value): Node {
  if (!value.producer) throw new Error(`nothing makes ${value.name}`);
  return value.producer;
}

describe('shiftBias', () => {
  const delta = Float64Array.of(0.5, -0.25, 2);

  /** A layer with three channels in the forms that have a bias, or can have one. */
  const forms: Readonly<Record<string, (builder: ModelBuilder) => Value>> = {
    'Conv with bias': (b) =>
      b.node('Conv', [b.input('x', ['n', 2, 4, 4]), b.constant('w', noise([3, 2, 3, 3], 1)), b.constant('b', noise([3], 2))]),
    'Conv without bias': (b) => b.node('Conv', [b.input('x', ['n', 2, 4, 4]), b.constant('w', noise([3, 2, 3, 3], 1))]),
    'ConvTranspose without bias': (b) => b.node('ConvTranspose', [b.input('x', ['n', 2, 4, 4]), b.constant('w', noise([2, 3, 2, 2], 1))]),
    'Gemm without bias': (b) => b.node('Gemm', [b.input('x', ['n', 5]), b.constant('w', noise([3, 5], 1))], transB),
    'Gemm with one bias for all and beta': (b) =>
      b.node('Gemm', [b.input('x', ['n', 5]), b.constant('w', noise([5, 3], 1)), b.constant('b', noise([1], 2))], {
        beta: attributeOf.float(4),
      }),
    'MatMul with an Add': (b) =>
      b.node('Add', [b.constant('b', noise([3], 2)), b.node('MatMul', [b.input('x', ['n', 5]), b.constant('w', noise([5, 3], 1))])]),
  };

  it.each(Object.keys(forms))('moves each channel of a %s by its delta', async (form) => {
    const build = (): { model: Model; node: Node } => {
      const builder = new ModelBuilder();
      const y = forms[form]?.(builder);
      if (!y) throw new Error(form);
      const last = producer(y);
      const { model } = builder.output(y);
      return { model, node: last.opType === 'Add' ? producer(last.inputs[1] ?? y) : last };
    };
    const x = form.includes('Conv') ? noise([2, 2, 4, 4], 5) : noise([2, 5], 5);
    const [before = new Float32Array()] = await outputsOf(build().model, { x });
    const { model, node } = build();
    const store = new WeightStore(model);
    expect(hasShiftableBias(store, node, 3)).toBe(true);
    expect(shiftBias(store, node, delta)).toBe(true);
    const [after] = await outputsOf(model, { x });
    const positions = before.length / 6;
    for (const [at, value] of before.entries()) {
      expect(after?.[at]).toBeCloseTo(value + (delta[form.includes('Conv') ? Math.floor(at / positions) % 3 : at % 3] ?? 0), 5);
    }
  });

  it('leaves other readers of a shared bias as they are', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 2, 4, 4]);
    const bias = builder.constant('b', noise([3], 2));
    const [one, other] = [1, 2].map((seed) => builder.node('Conv', [x, builder.constant(`w${seed}`, noise([3, 2, 1, 1], seed)), bias]));
    if (!one || !other) throw new Error('two layers');
    const { model } = builder.output(one).output(other);
    const feeds = { x: noise([1, 2, 4, 4], 4) };
    const before = await outputsOf(model, feeds);
    shiftBias(new WeightStore(model), producer(one), delta);
    const after = await outputsOf(model, feeds);
    expect(after[1]).toEqual(before[1]);
    expect(after[0]).not.toEqual(before[0]);
  });

  it('says no, and changes nothing, where no constant bias is', () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 5]);
    const product = builder.node('MatMul', [x, builder.constant('w', noise([5, 3], 1))]);
    const gemm = builder.node('Gemm', [x, builder.constant('v', noise([5, 3], 1)), product]);
    const { model } = builder.output(builder.node('Relu', [product])).output(gemm);
    const store = new WeightStore(model);
    expect(hasShiftableBias(store, producer(product), 3)).toBe(false);
    expect(shiftBias(store, producer(product), delta)).toBe(false);
    expect(shiftBias(store, producer(gemm), delta)).toBe(false);
    expect([...model.graph.initializers.keys()].map(({ name }) => name)).toEqual(['w', 'v']);
  });
});
