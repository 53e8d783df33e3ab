import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, elementCount, float32Tensor, float32Values, Node } from '../../../../../services/engine/ir/index.js';
import { channelLayout, fromRows, matrixLayout, toRows } from '../../../../../services/engine/layers/channel-layout.js';
import { WeightStore } from '../../../../../services/engine/layers/weight-store.js';
import { packCodes } from '../../../../../services/engine/quantization/weight-storage/packed-codes.js';
import { StoredWeights } from '../../../../../services/engine/quantization/weight-storage/stored-weight.js';
import { ModelBuilder, noise, outputsOf, removeScratch } from '../method-fixtures.js';

afterAll(removeScratch);

const bitsOf = fc.constantFrom(2 as const, 3 as const, 4 as const, 8 as const);

const storedCase = fc.record({
  bits: bitsOf,
  opset: fc.constantFrom(7, 8, 9, 10, 11, 13, 17, 21),
  opType: fc.constantFrom('Conv', 'ConvTranspose', 'LSTM'),
  group: fc.integer({ min: 1, max: 3 }),
  first: fc.integer({ min: 1, max: 4 }),
  second: fc.integer({ min: 1, max: 4 }),
  kernel: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(1000),
});

function codesOf(count: number, bits: number, seed: number): Int8Array {
  const half = 2 ** (bits - 1);
  return Int8Array.from(float32Values(noise([count], seed)), (value) => Math.max(-half, Math.min(half - 1, Math.floor(value * half))));
}

describe('StoredWeights', () => {
  it('gives back exactly scale * code, for all bits, layouts and operator sets', async () => {
    await fc.assert(
      fc.asyncProperty(storedCase, async ({ bits, opset, opType, group, first, second, kernel, seed }) => {
        const dims = opType === 'LSTM' ? [first, second, kernel] : [first * group, second, kernel, kernel];
        const count = elementCount(dims);
        const builder = new ModelBuilder({ opset, irVersion: opset < 9 ? 3 : 8 });
        const x = builder.input('x', [1]);
        const weight = builder.constant('w', noise(dims, seed));
        const y = builder.node('Mul', [weight, x]);
        const model = builder.output(y).model;
        const node = new Node({ opType, inputs: [], outputs: [], attributes: { group: attributeOf.int(group) } });
        const layout = channelLayout(node, dims);
        const codes = codesOf(count, bits, seed);
        const scales = float32Values(noise([layout.outer * layout.inner], seed + 1, 0.1)).slice();
        const store = new WeightStore(model);
        const constant = store.constant(weight);
        if (!constant) throw new Error('no constant');
        const weights = new StoredWeights(store, opset);
        weights.write(constant, { bits, codes, scales, layout });
        weights.finish();
        const [found] = await outputsOf(model, { x: float32Tensor([1], [1]) });
        const rows = toRows(codes, layout);
        const depth = layout.before * layout.behind;
        const expected = rows.map((code, at) => Math.fround(code * (scales[Math.floor(at / depth)] ?? 0)));
        expect([...toRows(found ?? [], layout)].map((value) => value + 0)).toEqual([...expected].map((value) => value + 0));
        expect(model.graph.inputs.map(({ name }) => name)).toEqual(['x']);
      }),
      { numRuns: 80 },
    );
  }, 60_000);

  it('gives back the same through DequantizeLinear, with scales that are all positive', async () => {
    const integerCase = fc.record({
      bits: bitsOf,
      transposed: fc.boolean(),
      channels: fc.integer({ min: 1, max: 5 }),
      depth: fc.integer({ min: 1, max: 9 }),
      seed: fc.nat(1000),
    });
    await fc.assert(
      fc.asyncProperty(integerCase, async ({ bits, transposed, channels, depth, seed }) => {
        const dims = transposed ? [depth, channels] : [channels, depth];
        const layout = matrixLayout(transposed ? 0 : 1, dims);
        const builder = new ModelBuilder({ opset: 13 });
        const weight = builder.constant('w', noise(dims, seed));
        const model = builder.output(builder.node('Mul', [weight, builder.input('x', [1])])).model;
        const codes = codesOf(channels * depth, bits, seed).map((code) => Math.max(-127, code));
        const scales = float32Values(noise([channels], seed + 1, 0.1)).slice();
        const store = new WeightStore(model);
        const weights = new StoredWeights(store, 13);
        weights.write(store.constant(weight) as NonNullable<ReturnType<typeof store.constant>>, {
          bits,
          codes,
          scales,
          layout,
          asIntegers: true,
        });
        weights.finish();
        const [found] = await outputsOf(model, { x: float32Tensor([1], [1]) });
        const expected = toRows(codes, layout).map((code, at) => Math.fround(code * (scales[Math.floor(at / depth)] ?? 0)));
        expect([...toRows(found ?? [], layout)].map((value) => value + 0)).toEqual([...expected].map((value) => value + 0));
        for (const [{ name }, tensor] of model.graph.initializers)
          if (name.endsWith('_scale')) expect(float32Values(tensor).every((scale) => scale >= 0)).toBe(true);
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  it('packs b bits a code, rounded up to a word', () => {
    fc.assert(
      fc.property(fc.constantFrom(2 as const, 3 as const, 4 as const), fc.integer({ min: 1, max: 100 }), (bits, count) => {
        expect(packCodes(new Int8Array(count), bits).length).toBeLessThanOrEqual(Math.ceil((bits * count) / 8) + 2);
      }),
    );
  });

  it('puts codes back where the rows came from', () => {
    const node = new Node({ opType: 'ConvTranspose', inputs: [], outputs: [], attributes: { group: attributeOf.int(2) } });
    const layout = channelLayout(node, [4, 3, 2, 2]);
    const codes = codesOf(48, 8, 1);
    expect([...fromRows(toRows(codes, layout), layout, Int8Array)]).toEqual([...codes]);
  });
});
