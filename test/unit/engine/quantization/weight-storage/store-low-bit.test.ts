import { statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  attributeOf,
  Graph,
  graphsWithin,
  type Model,
  Node,
  type Tensor,
  tensorOf,
  Value,
} from '../../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../../services/engine/method.js';
import { decodeModelFile, encodeModelFile } from '../../../../../services/engine/onnx/index.js';
import { type LowBitOptions, storeLowBit } from '../../../../../services/engine/quantization/weight-storage/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, runtime, scratch, sqnr } from '../method-fixtures.js';
import { samplesOf } from './sample-source.js';

afterAll(removeScratch);

const context = contextFor('measured');

function contextWith(samples: Tensor): MethodContext {
  return { ...context, calibration: samplesOf('x', samples) };
}

const relu = (builder: ModelBuilder, value: Value): Value => builder.node('Relu', [value]);

/** A residual network: stem, a block of two convolutions, a block with a convolution on its shortcut, a head. */
function residualNetwork(opset = 17, width = 16): Model {
  const builder = new ModelBuilder({ opset, irVersion: opset < 9 ? 3 : 8 });
  let seed = 0;
  const conv = (value: Value, [inputs, outputs, size]: readonly [number, number, number]): Value => {
    seed += 2;
    const weight = builder.constant(`w${seed}`, noise([outputs, inputs, size, size], seed, 1.7 / Math.sqrt(inputs * size * size)));
    const bias = builder.constant(`b${seed}`, noise([outputs], seed + 1, 0.1));
    const pads = attributeOf.ints(Array(4).fill(Math.floor(size / 2)));
    return builder.node('Conv', [value, weight, bias], { pads });
  };
  let x = relu(builder, conv(builder.input('x', ['n', 3, 8, 8]), [3, width, 3]));
  x = relu(builder, builder.node('Add', [conv(relu(builder, conv(x, [width, width, 3])), [width, width, 3]), x]));
  const inner = conv(relu(builder, conv(x, [width, width, 3])), [width, width, 3]);
  x = relu(builder, builder.node('Add', [inner, conv(x, [width, width, 1])]));
  return builder.output(conv(x, [width, 5, 1])).model;
}

async function ratio(model: Model, source: Model, x: Tensor): Promise<number> {
  const [before = new Float32Array()] = await outputsOf(source, { x });
  const [after = new Float32Array()] = await outputsOf(model, { x });
  return sqnr(before, after);
}

async function fileBytes(model: Model): Promise<number> {
  const path = join(scratch, 'stored.onnx');
  await encodeModelFile(model, path);
  return statSync(path).size;
}

/** Nodes that the runtime keeps after it has optimized the model, by operator. */
async function operatorsAfterLoad(model: Model): Promise<string[]> {
  const path = join(scratch, 'optimized.onnx');
  const session = await runtime.open(model, { optimization: 'extended', optimizedModelPath: path });
  await session.close();
  return [...graphsWithin(decodeModelFile(path).graph)].flatMap((graph) => graph.nodes.map((node) => node.opType));
}

const unpackingOperators = ['Cast', 'Mul', 'MatMul', 'Gemm', 'Floor', 'Reshape', 'Split'];

describe('storeLowBit on convolutions', () => {
  const inputs = noise([96, 3, 8, 8], 100);
  const unseen = noise([32, 3, 8, 8], 101);

  it.each([7, 8, 9, 11, 13, 17, 21])('leaves nothing to compute after loading, at operator set %i', async (opset) => {
    for (const convBits of [2, 3, 4, 8] as const) {
      const model = residualNetwork(opset);
      await storeLowBit(model, { convBits }, context);
      const operators = await operatorsAfterLoad(model);
      expect(operators.filter((operator) => unpackingOperators.includes(operator))).toEqual([]);
      expect(model.graph.inputs.map(({ name }) => name)).toEqual(['x']);
    }
  });

  it('takes bits / 8 bytes a weight, a float for each channel, and a small constant', async () => {
    const source = residualNetwork(17, 32);
    const weights = [...source.graph.initializers].filter(([value]) => value.name.startsWith('w'));
    const count = weights.reduce((sum, [, tensor]) => sum + tensor.data.byteLength / 4, 0);
    const plain = await fileBytes(source);
    for (const convBits of [2, 3, 4, 8] as const) {
      const model = residualNetwork(17, 32);
      await storeLowBit(model, { convBits, protectEnds: false }, context);
      const promised = plain - 4 * count + (count * convBits) / 8 + 4 * (32 * 6 + 5);
      expect((await fileBytes(model)) - promised).toBeLessThan(1000 + 250 * weights.length);
    }
  });

  it('loses less on inputs never seen, the more is known: largest weight, least weight error, inputs', async () => {
    for (const convBits of [2, 3] as const) {
      const reached: number[] = [];
      for (const algorithm of ['rtn', 'hessian', 'gptq', 'adaround'] as const) {
        const model = residualNetwork();
        await storeLowBit(model, { convBits, algorithm }, contextWith(inputs));
        reached.push(await ratio(model, residualNetwork(), unseen));
      }
      const [rtn = 0, hessian = 0, gptq = 0, adaround = 0] = reached;
      expect(hessian).toBeGreaterThan(rtn + 1);
      expect(gptq).toBeGreaterThan(hessian + 0.3);
      expect(adaround).toBeGreaterThan(gptq - 0.5);
    }
  });

  it('gives the channels the means that they had, at the end of the sum they stand in', async () => {
    const source = residualNetwork();
    const model = residualNetwork();
    const { nodes } = await storeLowBit(model, { convBits: 2, algorithm: 'gptq' }, contextWith(inputs));
    expect(nodes.filter(({ reason }) => reason.includes('bias corrected'))).toHaveLength(5);
    const means = async (each: Model): Promise<number[]> => {
      const sum = each.graph.nodes.filter((node) => node.opType === 'Add').at(-1)?.outputs[0];
      if (!sum) throw new Error('no Add');
      each.graph.outputs.splice(0, 1, sum);
      sum.type = { kind: 'tensor', dataType: 'float32', shape: null };
      const [values = new Float32Array()] = await outputsOf(each, { x: inputs });
      const totals: number[] = Array(16).fill(0);
      for (const [at, value] of values.entries()) {
        const channel = Math.floor(at / 64) % 16;
        totals[channel] = (totals[channel] ?? 0) + value / (96 * 64);
      }
      return totals;
    };
    const expected = await means(source);
    for (const [channel, mean] of (await means(model)).entries()) expect(mean).toBeCloseTo(expected[channel] ?? Number.NaN, 3);
  });

  it('keeps the ends at 8 bits unless told otherwise, leaves a tiny head, and reports bytes and local ratio of each', async () => {
    const { layers = [] } = await storeLowBit(residualNetwork(), { convBits: 2 }, contextWith(inputs));
    const formsOf = (options: LowBitOptions) =>
      storeLowBit(residualNetwork(), options, context).then((outcome) => (outcome.layers ?? []).map(({ form }) => form));
    expect(layers.filter(({ form }) => form === 'int8 stored').map(({ node }) => node)).toEqual(['Conv_0']);
    const low = layers.filter(({ form }) => form === '2 bit stored');
    expect(low).toHaveLength(5);
    for (const { bytes_before = 0, bytes_after = 0, sqnr_local_db = 0 } of low) {
      expect(bytes_after).toBe(bytes_before / 16 + 4 * 16);
      expect(sqnr_local_db).toBeGreaterThan(4);
    }
    expect((await formsOf({ convBits: 2, protectEnds: false })).filter((form) => form === '2 bit stored').length).toBeGreaterThan(5);
    expect(await formsOf({ convBits: 32 })).toEqual([]);
  });

  it('refuses an algorithm that needs inputs when there are none, and says what to do', async () => {
    const storing = storeLowBit(residualNetwork(), { convBits: 3, algorithm: 'gptq' }, context);
    await expect(storing).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringMatching(/give a data set, or use 'mse'/),
    });
    await expect(storeLowBit(residualNetwork(), { convBits: 8, algorithm: 'gptq' }, context)).resolves.toBeDefined();
  });

  it('rounds transposed and grouped convolutions in every layout', async () => {
    const shapes = fc.record({
      group: fc.constantFrom(1, 2, 4),
      transposed: fc.boolean(),
      convBits: fc.constantFrom(2 as const, 3 as const, 4 as const),
      seed: fc.nat(100),
    });
    await fc.assert(
      fc.asyncProperty(shapes, async ({ group, transposed, convBits, seed }) => {
        const build = (): Model => {
          const builder = new ModelBuilder();
          const x = relu(builder, builder.input('x', ['n', 8, 6, 6]));
          const weight = builder.constant('w', noise(transposed ? [8, 16 / group, 3, 3] : [16, 8 / group, 3, 3], seed));
          return builder.output(builder.node(transposed ? 'ConvTranspose' : 'Conv', [x, weight], { group: attributeOf.int(group) })).model;
        };
        const samples = noise([24, 8, 6, 6], seed + 1);
        const options = { convBits, protectEnds: false } as const;
        const [plain, fitted] = [build(), build()];
        await storeLowBit(plain, { ...options, algorithm: 'rtn' }, context);
        const { layers } = await storeLowBit(fitted, options, contextWith(samples));
        expect(layers?.[0]?.form).toBe(`${convBits} bit stored`);
        const other = noise([8, 8, 6, 6], seed + 2);
        expect(await ratio(fitted, build(), other)).toBeGreaterThan(await ratio(plain, build(), other));
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  it('leaves weights that others read, that are outputs, tiny or not finite', async () => {
    const reasonFor = async (
      build: (builder: ModelBuilder, x: Value) => unknown,
      options: LowBitOptions = {},
    ): Promise<string | undefined> => {
      const builder = new ModelBuilder();
      build(builder, builder.input('x', ['n', 16, 4, 4]));
      const { nodes } = await storeLowBit(builder.model, options, context);
      expect(nodes.map(({ action }) => action)).toEqual(['left']);
      return nodes[0]?.reason;
    };
    const conv = (builder: ModelBuilder, x: Value, weight = builder.constant('w', noise([16, 16, 3, 3], 1))): Value => {
      builder.output(builder.node('Conv', [x, weight]));
      return weight;
    };
    expect(await reasonFor((b, x) => b.output(b.node('Neg', [conv(b, x)])))).toMatch(/also needed in float32 by Neg/);
    expect(await reasonFor((b, x) => b.output(conv(b, x)))).toMatch(/also an output/);
    expect(await reasonFor((b, x) => conv(b, x, b.constant('w', noise([2, 16, 1, 1], 1))))).toMatch(/so small/);
    expect(await reasonFor((b, x) => conv(b, x, b.constant('w', noise([16, 16, 3, 3], 1, Number.NaN))))).toMatch(/not finite/);
    expect(await reasonFor((b, x) => conv(b, x, b.node('Neg', [b.constant('w', noise([16, 16, 3, 3], 1))])))).toMatch(/not constant/);
    expect(await reasonFor(conv, { exclude: ['Conv*'] })).toMatch(/excluded/);
    expect(await reasonFor(conv, { opTypes: ['LSTM'] })).toMatch(/op_types/);
  });
});

describe('storeLowBit on recurrent layers and in branches', () => {
  it.each([
    ['LSTM', 4],
    ['GRU', 3],
    ['RNN', 1],
  ] as const)('stores both weights of %s, close to float32 in 8 and 4 bits', async (opType, gates) => {
    const build = (): Model => {
      const builder = new ModelBuilder({ opset: 11 });
      const x = builder.input('x', ['steps', 'n', 12]);
      const weights = [
        builder.constant('w', noise([2, gates * 20, 12], 1, 0.4)),
        builder.constant('r', noise([2, gates * 20, 20], 2, 0.4)),
      ];
      const attributes = { hidden_size: attributeOf.int(20), direction: attributeOf.string('bidirectional') };
      return builder.output(builder.node(opType, [x, ...weights], attributes)).model;
    };
    for (const [recurrentBits, least] of [
      [8, 35],
      [4, 12],
    ] as const) {
      const model = build();
      const { layers } = await storeLowBit(model, { recurrentBits, protectEnds: false }, context);
      expect(layers?.map(({ form }) => form)).toEqual([recurrentBits === 8 ? 'int8 stored' : '4 bit stored']);
      expect(await ratio(model, build(), noise([6, 3, 12], 3))).toBeGreaterThan(least);
      expect(await operatorsAfterLoad(model)).toEqual([opType]);
    }
  });

  it('reaches Constant nodes inside the branches of an If, where the runtime folds as well', async () => {
    const build = (): Model => {
      const builder = new ModelBuilder({ opset: 16 });
      const x = builder.input('x', ['n', 8, 6, 6]);
      const branch = (name: string, seed: number): Graph => {
        const graph = new Graph(name);
        const [weight, output] = [new Value(`${name}_w`), new Value(`${name}_y`, { kind: 'tensor', dataType: 'float32', shape: null })];
        graph.append(
          new Node({
            opType: 'Constant',
            inputs: [],
            outputs: [weight],
            attributes: { value: attributeOf.tensor(noise([24, 8, 3, 3], seed)) },
          }),
        );
        graph.append(new Node({ opType: 'Conv', name: `${name}_conv`, inputs: [x, weight], outputs: [output] }));
        graph.outputs.push(output);
        return graph;
      };
      const attributes = { then_branch: attributeOf.graph(branch('then', 1)), else_branch: attributeOf.graph(branch('else', 2)) };
      return builder.output(builder.node('If', [builder.input('condition', [], 'bool')], attributes)).model;
    };
    for (const [convBits, least] of [
      [8, 40],
      [4, 18],
      [3, 12],
    ] as const) {
      const model = build();
      const { nodes } = await storeLowBit(model, { convBits, protectEnds: false }, context);
      expect(nodes.map(({ node, action }) => `${node} ${action}`)).toEqual(['then_conv changed', 'else_conv changed']);
      for (const taken of [0, 1]) {
        const feeds = { x: noise([2, 8, 6, 6], 4), condition: tensorOf('bool', [], Uint8Array.of(taken)) };
        const [before = new Float32Array()] = await outputsOf(build(), feeds);
        const [after = new Float32Array()] = await outputsOf(model, feeds);
        expect(sqnr(before, after)).toBeGreaterThan(least);
      }
      expect((await operatorsAfterLoad(model)).sort()).toEqual(['Conv', 'Conv', 'If']);
    }
  });
});
