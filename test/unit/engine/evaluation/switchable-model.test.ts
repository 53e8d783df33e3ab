import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { openSwitchable, type SwitchableSite } from '../../../../services/engine/evaluation/switchable-model.js';
import {
  attributeOf,
  float32Tensor,
  float32Values,
  Graph,
  type Model,
  Node,
  type Tensor,
  tensorOf,
  Value,
} from '../../../../services/engine/ir/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

const context = contextFor('measured');

/** x -> MatMul w1 -> Relu -> MatMul w2 -> Softmax; the Relu output is read by a second output, too. */
function network({ opset = 17, irVersion = 8 } = {}): Model {
  const builder = new ModelBuilder({ opset, irVersion });
  const x = builder.input('x', ['n', 6]);
  const h = builder.node('Relu', [builder.node('MatMul', [x, builder.constant('w1', noise([6, 8], 1))])]);
  const y = builder.node('MatMul', [h, builder.constant('w2', noise([8, 5], 2))]);
  return builder.output(y).output(builder.node('Neg', [h])).model;
}

const relu = 'Relu_1_out';
const codeRange = { uint8: [0, 255], int8: [-128, 127], uint16: [0, 65_535], int16: [-32_768, 32_767] } as const;

/** DequantizeLinear(QuantizeLinear(x)) as ONNX states it, in float64. */
function rounded(
  values: Float32Array,
  { scale, zeroPoint, dataType }: { scale: number; zeroPoint: number; dataType: keyof typeof codeRange },
): Float32Array {
  const [low, high] = codeRange[dataType];
  const even = (v: number): number => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
  return values.map(
    (v) => (Math.max(low, Math.min(high, even(Math.fround(v / Math.fround(scale))) + zeroPoint)) - zeroPoint) * Math.fround(scale),
  );
}

function product(a: Float32Array, b: Tensor): Float32Array {
  const [depth = 0, columns = 0] = b.dims;
  const w = float32Values(b);
  const rows = a.length / depth;
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < depth; k += 1) sum += (a[row * depth + k] ?? 0) * (w[k * columns + column] ?? 0);
    return sum;
  });
}

function expectClose(actual: Tensor | undefined, expected: ArrayLike<number>): void {
  const values = actual ? float32Values(actual) : new Float32Array();
  expect(values).toHaveLength(expected.length);
  for (const [at, value] of values.entries()) expect(Math.abs(value - (expected[at] ?? Number.NaN))).toBeLessThan(1e-5);
}

const parameters = fc.record({
  dataType: fc.constantFrom('uint8' as const, 'int8' as const, 'uint16' as const, 'int16' as const),
  scale: fc.constantFrom(0.01, 0.037, 0.5),
  zeroPoint: fc.integer({ min: 0, max: 127 }),
});

describe('a switchable model', () => {
  it('computes for every choice of sites what the formulas of quantization give, and the float outputs when nothing is enabled', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(parameters, { minLength: 1, maxLength: 2 }), fc.constantFrom(8, 13, 17, 21), async (choices, opset) => {
        const model = network({ opset, irVersion: opset === 8 ? 3 : 8 });
        const weightOf = (at: number): Tensor => noise([8, 5], 20 + at);
        const sites: SwitchableSite[] = [
          { id: 'relu', alternatives: choices.map((each) => ({ activations: [{ tensor: relu, ...each }] })) },
          { id: 'w2', alternatives: [0, 1].map((at) => ({ weights: [{ value: 'w2', quantized: () => float32Values(weightOf(at)) }] })) },
        ];
        const x = noise([3, 6], 9);
        const switchable = await openSwitchable(model, sites, context);
        try {
          const h = product(float32Values(x), noise([6, 8], 1)).map((v) => Math.max(v, 0));
          for (const [index, choice] of [undefined, ...choices].entries()) {
            for (const weight of [undefined, 0, 1]) {
              const enabled = new Map<string, number>();
              if (choice) enabled.set('relu', index - 1);
              if (weight !== undefined) enabled.set('w2', weight);
              const [y, negated] = [...(await switchable.run(new Map([['x', x]]), enabled)).values()];
              const hidden = choice ? rounded(h, choice) : h;
              expectClose(
                negated,
                hidden.map((v) => -v),
              );
              expectClose(y, product(hidden, weight === undefined ? noise([8, 5], 2) : weightOf(weight)));
            }
          }
        } finally {
          await switchable.close();
        }
      }),
      { numRuns: 12 },
    );
  });

  it('leaves the model it was made from as it was', async () => {
    const model = network();
    const before = model.graph.nodes.map(({ opType, inputs }) => `${opType} ${inputs.map((input) => input?.name)}`);
    const x = noise([2, 6], 9);
    const outputs = await outputsOf(model, { x });
    const site: SwitchableSite = {
      id: 'a',
      alternatives: [
        {
          activations: [{ tensor: relu, scale: 0.1, zeroPoint: 0, dataType: 'uint8' }],
          weights: [{ value: 'w1', quantized: new Float32Array(48) }],
        },
      ],
    };
    const switchable = await openSwitchable(model, [site], context);
    await switchable.run(new Map([['x', x]]), new Map([['a', 0]]));
    await switchable.close();
    expect(model.graph.nodes.map(({ opType, inputs }) => `${opType} ${inputs.map((input) => input?.name)}`)).toEqual(before);
    expect(model.graph.inputs.map(({ name }) => name)).toEqual(['x']);
    expect(await outputsOf(model, { x })).toEqual(outputs);
  });

  it('rounds a tensor for the named readers alone', async () => {
    const activation = { tensor: relu, scale: 0.5, zeroPoint: 0, dataType: 'uint8' as const, readers: ['MatMul_2'] };
    const switchable = await openSwitchable(network(), [{ id: 'a', alternatives: [{ activations: [activation] }] }], context);
    const x = noise([2, 6], 9);
    const h = product(float32Values(x), noise([6, 8], 1)).map((v) => Math.max(v, 0));
    const [y, negated] = [...(await switchable.run(new Map([['x', x]]), new Map([['a', 0]]))).values()];
    await switchable.close();
    expectClose(y, product(rounded(h, activation), noise([8, 5], 2)));
    expectClose(
      negated,
      h.map((v) => -v),
    );
  });

  it('rounds graph inputs and graph outputs under their names, and shows the value before rounding to an observer', async () => {
    const model = network();
    const y = 'MatMul_2_out';
    const coarse = { scale: 0.25, zeroPoint: 100, dataType: 'uint8' as const };
    const site = {
      id: 'a',
      alternatives: [
        {
          activations: [
            { tensor: 'x', ...coarse },
            { tensor: y, ...coarse },
          ],
        },
      ],
    };
    const switchable = await openSwitchable(model, [site], context, { observe: [y, relu] });
    const x = noise([2, 6], 9);
    const h = product(rounded(float32Values(x), coarse), noise([6, 8], 1)).map((v) => Math.max(v, 0));
    const outputs = await switchable.run(new Map([['x', x]]), new Map([['a', 0]]));
    const observed = await switchable.run(new Map([['x', x]]), new Map([['a', 0]]), [relu, y]);
    await switchable.close();
    expect([...outputs.keys()]).toEqual([y, 'Neg_3_out']);
    expectClose(outputs.get(y), rounded(product(h, noise([8, 5], 2)), coarse));
    expectClose(observed.get(relu), h);
    expectClose(observed.get(y), product(h, noise([8, 5], 2)));
  });

  it('switches weights and tensors inside branches', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 4]);
    const flag = builder.input('flag', [], 'bool');
    const branch = (name: string): Graph => {
      const graph = new Graph(name);
      const w = graph.addInitializer(`${name}_w`, noise([4, 3], 5));
      const hidden = new Value(`${name}_hidden`);
      const out = new Value(`${name}_out`, { kind: 'tensor', dataType: 'float32', shape: null });
      graph.append(
        new Node({ opType: 'MatMul', inputs: [x, w], outputs: [hidden] }),
        new Node({ opType: 'Relu', inputs: [hidden], outputs: [out] }),
      );
      graph.outputs.push(out);
      return graph;
    };
    const y = builder.node('If', [flag], { then_branch: attributeOf.graph(branch('yes')), else_branch: attributeOf.graph(branch('no')) });
    const coarse = { scale: 0.25, zeroPoint: 100, dataType: 'uint8' as const };
    const sites: SwitchableSite[] = [
      { id: 'w', alternatives: [{ weights: [{ value: 'yes_w', quantized: float32Values(noise([4, 3], 6)) }] }] },
      { id: 'a', alternatives: [{ activations: [{ tensor: 'yes_hidden', ...coarse }] }] },
    ];
    const switchable = await openSwitchable(builder.output(y).model, sites, context);
    const feeds = new Map([
      ['x', noise([2, 4], 9)],
      ['flag', tensorOf('bool', [], Uint8Array.of(1))],
    ]);
    const [both] = [
      ...(
        await switchable.run(
          feeds,
          new Map([
            ['w', 0],
            ['a', 0],
          ]),
        )
      ).values(),
    ];
    const [float] = [...(await switchable.run(feeds, new Map())).values()];
    await switchable.close();
    const input = float32Values(noise([2, 4], 9));
    expectClose(
      both,
      rounded(product(input, noise([4, 3], 6)), coarse).map((v) => Math.max(v, 0)),
    );
    expectClose(
      float,
      product(input, noise([4, 3], 5)).map((v) => Math.max(v, 0)),
    );
  });

  it.each([
    ['a tensor', { activations: [{ tensor: 'nothing', scale: 1, zeroPoint: 0, dataType: 'uint8' as const }] }],
    ['a weight', { weights: [{ value: 'nothing', quantized: new Float32Array(1) }] }],
    ['a computed value as weight', { weights: [{ value: relu, quantized: new Float32Array(1) }] }],
  ])('refuses %s that the model does not have', async (_what, alternative) => {
    await expect(openSwitchable(network(), [{ id: 'a', alternatives: [alternative] }], context)).rejects.toThrow(RangeError);
  });

  it('refuses a site or an alternative that was not described', async () => {
    const switchable = await openSwitchable(network(), [], context);
    const feeds = new Map([['x', float32Tensor([1, 6], new Float32Array(6))]]);
    await expect(switchable.run(feeds, new Map([['a', 0]]))).rejects.toThrow(RangeError);
    await switchable.close();
  });
});
