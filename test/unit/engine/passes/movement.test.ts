/** Reshapes, permutations, slices, gathers and scatters that say less than they seem to. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, int64Tensor, type Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators } from './clean-up-oracle.js';

const y = { name: 'y', shape: null };
const ints = (...values: number[]): Tensor => int64Tensor([values.length], values);
const sizes = [{ n: 1 }, { n: 3 }];

interface Case {
  readonly shape: readonly (number | string)[];
  readonly constants?: Record<string, Tensor>;
  readonly nodes: readonly NodeSpec[];
  readonly outputs?: readonly { name: string; shape: null }[];
  readonly opset?: number;
}

async function expectOperators(
  { shape, constants = {}, nodes, outputs = [y], opset = 17 }: Case,
  expected: readonly string[],
): Promise<void> {
  const model = buildModel({ inputs: [{ name: 'x', shape }], outputs, constants, nodes });
  model.opsetImports.set('', opset);
  const result = await cleaned(model);
  expect(operators(result.after)).toEqual(expected);
  await expectSameOutputs(result, sizes, 0);
}

const transpose = (input: string, output: string, ...perm: number[]): NodeSpec => ({
  opType: 'Transpose',
  inputs: [input],
  outputs: [output],
  attributes: { perm: attributeOf.ints(perm) },
});

describe('reshapes and permutations', () => {
  test('a chain of reshapes is one reshape', () =>
    expectOperators(
      {
        shape: ['n', 4, 6],
        constants: { a: ints(1), b: ints(-1, 8, 3), c: ints(1) },
        nodes: [
          { opType: 'Unsqueeze', inputs: ['x', 'a'], outputs: ['u'] },
          { opType: 'Reshape', inputs: ['u', 'b'], outputs: ['r'] },
          { opType: 'Flatten', inputs: ['r'], outputs: ['f'], attributes: { axis: attributeOf.int(2) } },
          { opType: 'Unsqueeze', inputs: ['f', 'c'], outputs: ['y'] },
        ],
      },
      ['Reshape'],
    ));

  test('the order of a transposition behind a DequantizeLinear is written out: without it, loading the model ends the process', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 3] }],
      outputs: [y],
      constants: {
        w: tensorOf(
          'int8',
          [4, 3],
          Int8Array.from({ length: 12 }, (_, at) => at - 6),
        ),
        s: float32Tensor([4], [0.5, 1, 2, 4]),
      },
      nodes: [
        { opType: 'DequantizeLinear', inputs: ['w', 's'], outputs: ['d'], attributes: { axis: attributeOf.int(0) } },
        { opType: 'Transpose', inputs: ['d'], outputs: ['t'] },
        { opType: 'MatMul', inputs: ['x', 't'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(result.after.graph.nodes.find(({ opType }) => opType === 'Transpose')?.attributes.get('perm')).toEqual(attributeOf.ints([1, 0]));
    await expectSameOutputs(result, sizes, 0);
  });

  test('the axes of Squeeze and Unsqueeze are read from attributes before operator set 13', () =>
    expectOperators(
      {
        shape: ['n', 1, 6],
        opset: 11,
        nodes: [
          { opType: 'Squeeze', inputs: ['x'], outputs: ['s'], attributes: { axes: attributeOf.ints([1]) } },
          { opType: 'Unsqueeze', inputs: ['s'], outputs: ['u'], attributes: { axes: attributeOf.ints([1]) } },
          { opType: 'Neg', inputs: ['u'], outputs: ['y'] },
        ],
      },
      ['Neg'],
    ));

  test('reshapes around an elementwise operator are one reshape', () =>
    expectOperators(
      {
        shape: ['n', 6],
        constants: { a: ints(-1, 3, 2), b: ints(-1, 2, 3) },
        nodes: [
          { opType: 'Reshape', inputs: ['x', 'a'], outputs: ['r'] },
          { opType: 'Sigmoid', inputs: ['r'], outputs: ['s'] },
          { opType: 'Reshape', inputs: ['s', 'b'], outputs: ['y'] },
        ],
      },
      ['Reshape', 'Sigmoid'],
    ));

  test('two sizes that are unknown stay computed', () =>
    expectOperators(
      {
        shape: ['n', 'm', 6],
        constants: { i: ints(0, 1), six: ints(3, 2) },
        nodes: [
          { opType: 'Shape', inputs: ['x'], outputs: ['s'] },
          { opType: 'Gather', inputs: ['s', 'i'], outputs: ['g'] },
          { opType: 'Concat', inputs: ['six', 'g'], outputs: ['t'], attributes: { axis: attributeOf.int(0) } },
          { opType: 'Reshape', inputs: ['x', 't'], outputs: ['y'] },
        ],
      },
      ['Concat', 'Gather', 'Reshape', 'Shape'],
    ));

  test('two permutations are one, and a permutation and its inverse none', async () => {
    await expectOperators({ shape: ['n', 2, 3], nodes: [transpose('x', 'a', 1, 2, 0), transpose('a', 'y', 1, 2, 0)] }, ['Transpose']);
    await expectOperators(
      {
        shape: ['n', 2, 3],
        nodes: [transpose('x', 'a', 1, 2, 0), transpose('a', 'b', 2, 0, 1), { opType: 'Neg', inputs: ['b'], outputs: ['y'] }],
      },
      ['Neg'],
    );
  });

  test('a permutation that moves only axes of size 1 is a reshape, one that moves another is not', async () => {
    await expectOperators({ shape: ['n', 1, 3, 1], nodes: [transpose('x', 'y', 0, 3, 2, 1)] }, ['Reshape']);
    await expectOperators({ shape: ['n', 2, 1], nodes: [transpose('x', 'y', 2, 1, 0)] }, ['Transpose']);
  });

  test('stacking along the permuted axis needs no permutation', () =>
    expectOperators(
      {
        shape: ['n', 4, 5],
        constants: { a: ints(1) },
        nodes: [
          { opType: 'Neg', inputs: ['x'], outputs: ['m'] },
          { opType: 'Unsqueeze', inputs: ['x', 'a'], outputs: ['u'] },
          { opType: 'Unsqueeze', inputs: ['m', 'a'], outputs: ['v'] },
          { opType: 'Concat', inputs: ['u', 'v'], outputs: ['c'], attributes: { axis: attributeOf.int(1) } },
          transpose('c', 'y', 0, 2, 1, 3),
        ],
      },
      ['Concat', 'Neg', 'Reshape', 'Reshape'],
    ));
});

describe('casts', () => {
  const code = { float32: 1, uint8: 2, int32: 6, int64: 7, float64: 11 } as const;
  const casts = (...types: (keyof typeof code)[]): NodeSpec[] =>
    types.map((type, at) => ({
      opType: 'Cast',
      inputs: [at === 0 ? 'x' : `c${at - 1}`],
      outputs: [at === types.length - 1 ? 'y' : `c${at}`],
      attributes: { to: attributeOf.int(code[type]) },
    }));
  const chain = (...types: (keyof typeof code)[]) =>
    buildModel({
      inputs: [{ name: 'x', shape: ['n', 3] }],
      outputs: [{ name: 'y', dataType: types.at(-1) ?? 'float32', shape: null }],
      nodes: casts(...types),
    });

  test('by way of a wider type are one cast', async () => {
    const result = await cleaned(chain('float64', 'int64'));
    expect(operators(result.after)).toEqual(['Cast']);
    await expectSameOutputs(result, sizes, 0);
  });

  test.each([
    ['a narrower type', ['int32', 'float32']],
    ['another kind of number', ['int32', 'float64', 'int64']],
  ] as const)('by way of %s stay', async (_, types) => {
    const model = chain(...types);
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(operators(model));
    await expectSameOutputs(result, sizes, 0);
  });
});

describe('slices, gathers and scatters', () => {
  const slice = (input: string, output: string, range: string): NodeSpec => ({
    opType: 'Slice',
    inputs: [input, `${range}s`, `${range}e`, 'axis'],
    outputs: [output],
  });
  const cut = { axis: ints(1), as: ints(0), ae: ints(2), bs: ints(2), be: int64Tensor([1], [2n ** 63n - 1n]), cs: ints(1), ce: ints(4) };

  test('a slice of a slice is one slice', () =>
    expectOperators(
      { shape: ['n', 6], constants: { axis: cut.axis, cs: cut.cs, ce: cut.ce }, nodes: [slice('x', 'a', 'c'), slice('a', 'y', 'c')] },
      ['Slice'],
    ));

  const joined: NodeSpec[] = [
    { opType: 'Neg', inputs: ['x'], outputs: ['m'] },
    { opType: 'Concat', inputs: ['x', 'm'], outputs: ['c'], attributes: { axis: attributeOf.int(1) } },
  ];

  test('a slice of a concatenation reads the operand that holds it', async () => {
    const constants = { axis: ints(1), as: ints(2), ae: ints(4) };
    await expectOperators(
      { shape: ['n', 2], constants, nodes: [...joined, slice('c', 'd', 'a'), { opType: 'Exp', inputs: ['d'], outputs: ['y'] }] },
      ['Exp', 'Neg'],
    );
    await expectOperators({ shape: ['n', 3], constants, nodes: [...joined, slice('c', 'y', 'a')] }, ['Concat', 'Neg', 'Slice']);
  });

  test('an element of a concatenation is read from the operand that holds it', () =>
    expectOperators(
      {
        shape: ['n', 3],
        constants: { i: int64Tensor([], [-2]) },
        nodes: [...joined, { opType: 'Gather', inputs: ['c', 'i'], outputs: ['y'], attributes: { axis: attributeOf.int(1) } }],
      },
      ['Gather', 'Neg'],
    ));

  test('gathering every position in order is a reshape, in another order it is not', async () => {
    const gather: NodeSpec[] = [{ opType: 'Gather', inputs: ['x', 'i'], outputs: ['y'], attributes: { axis: attributeOf.int(1) } }];
    await expectOperators({ shape: ['n', 4], constants: { i: int64Tensor([2, 2], [0, 1, 2, -1]) }, nodes: gather }, ['Reshape']);
    await expectOperators({ shape: ['n', 4], constants: { i: int64Tensor([2, 2], [0, 2, 1, 3]) }, nodes: gather }, ['Gather']);
  });

  const scatter = (indices: Tensor, updates: readonly number[], attributes: NodeSpec['attributes'] = {}) => {
    const model = buildModel({
      inputs: [
        { name: 'x', shape: [4, 3] },
        { name: 'u', shape: updates },
      ],
      outputs: [y],
      constants: { i: indices },
      nodes: [{ opType: 'ScatterND', inputs: ['x', 'i', 'u'], outputs: ['y'], attributes }],
    });
    model.opsetImports.set('', 18);
    return model;
  };

  test.each([
    ['rows in the middle', scatter(int64Tensor([2, 1], [1, 2]), [2, 3]), true],
    ['the last row, counted from the end', scatter(int64Tensor([1, 1], [-1]), [1, 3]), true],
    ['everything', scatter(int64Tensor([4, 1], [0, 1, 2, 3]), [4, 3]), true],
    ['one column by positions', scatter(int64Tensor([4, 1, 2], [0, 1, 1, 1, 2, 1, 3, 1]), [4, 1]), true],
    ['rows out of order', scatter(int64Tensor([2, 1], [2, 1]), [2, 3]), false],
    ['rows shuffled between the first and the last', scatter(int64Tensor([4, 1], [0, 2, 1, 3]), [4, 3]), false],
    ['a row twice', scatter(int64Tensor([2, 1], [1, 1]), [2, 3]), false],
    ['a corner', scatter(int64Tensor([2, 2], [0, 0, 0, 1]), [2]), false],
    ['rows by addition', scatter(int64Tensor([2, 1], [1, 2]), [2, 3], { reduction: attributeOf.string('add') }), false],
  ])('ScatterND of %s is exact', async (_, model, becomesConcat) => {
    const result = await cleaned(model);
    expect(operators(result.after).includes('ScatterND')).toBe(!becomesConcat);
    await expectSameOutputs(result, [{}], 0);
  });
});
