/** Normalization, constant arithmetic, padding and transposed convolutions fold into weights that nobody else reads. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, numbers, operators, randomTensor, storedBytes } from './clean-up-oracle.js';

const y = { name: 'y', shape: null };
const image = { name: 'x', shape: ['n', 4, 7, 6] as const };
const sizes = [{ n: 1 }, { n: 3 }];

function normalization(channels: number): Record<string, Tensor> {
  return {
    gamma: randomTensor([channels], 11),
    beta: randomTensor([channels], 12),
    mean: randomTensor([channels], 13),
    variance: float32Tensor(
      [channels],
      numbers(channels, 14).map((value) => Math.abs(value) + 0.1),
    ),
  };
}

const batchNormalization = (input: string, output: string): NodeSpec => ({
  opType: 'BatchNormalization',
  inputs: [input, 'gamma', 'beta', 'mean', 'variance'],
  outputs: [output],
  attributes: { epsilon: attributeOf.float(1e-3) },
});

const grouped = { group: attributeOf.int(2), pads: attributeOf.ints([1, 1, 1, 1]), kernel_shape: attributeOf.ints([3, 3]) };

describe('batch normalization folding', () => {
  test.each(['with bias', 'without bias'])('into a grouped Conv %s', async (kind) => {
    const model = buildModel({
      inputs: [image],
      outputs: [y],
      constants: { w: randomTensor([6, 2, 3, 3]), b: randomTensor([6], 2), ...normalization(6) },
      nodes: [
        { opType: 'Conv', inputs: kind === 'with bias' ? ['x', 'w', 'b'] : ['x', 'w'], outputs: ['c'], attributes: grouped },
        batchNormalization('c', 'y'),
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result, sizes);
  });

  test('into a grouped ConvTranspose with stride', async () => {
    const model = buildModel({
      inputs: [image],
      outputs: [y],
      constants: { w: randomTensor([4, 3, 3, 2]), ...normalization(6) },
      nodes: [
        {
          opType: 'ConvTranspose',
          inputs: ['x', 'w'],
          outputs: ['c'],
          attributes: { group: attributeOf.int(2), strides: attributeOf.ints([2, 1]) },
        },
        batchNormalization('c', 'y'),
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['ConvTranspose']);
    await expectSameOutputs(result, sizes);
  });

  test.each([0, 1])('into a Gemm with alpha, beta and transB = %i', async (transB) => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 5] }],
      outputs: [y],
      constants: { w: randomTensor(transB ? [3, 5] : [5, 3]), b: randomTensor([3], 2), ...normalization(3) },
      nodes: [
        {
          opType: 'Gemm',
          inputs: ['x', 'w', 'b'],
          outputs: ['c'],
          attributes: { transB: attributeOf.int(transB), alpha: attributeOf.float(0.5), beta: attributeOf.float(2) },
        },
        batchNormalization('c', 'y'),
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Gemm']);
    await expectSameOutputs(result, sizes);
  });

  test('into the matrix products behind it when channels are brought to the end and back', async () => {
    const perm = { perm: attributeOf.ints([0, 2, 1]) };
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 5, 6] }],
      outputs: [y, { name: 'z', shape: null }],
      constants: { q: randomTensor([6, 4]), k: randomTensor([6, 3], 2), b: randomTensor([4], 3), ...normalization(6) },
      nodes: [
        { opType: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: perm },
        batchNormalization('t', 'c'),
        { opType: 'Transpose', inputs: ['c'], outputs: ['u'], attributes: perm },
        { opType: 'MatMul', inputs: ['u', 'q'], outputs: ['uq'] },
        { opType: 'Add', inputs: ['b', 'uq'], outputs: ['y'] },
        { opType: 'MatMul', inputs: ['u', 'k'], outputs: ['z'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Add', 'Add', 'MatMul', 'MatMul']);
    await expectSameOutputs(result, sizes);
  });

  test('not into a Conv whose output or whose weight is read elsewhere', async () => {
    const constants = { w: randomTensor([4, 4, 1, 1]), ...normalization(4) };
    const outputRead = buildModel({
      inputs: [image],
      outputs: [y, { name: 'c', shape: null }],
      constants,
      nodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: ['c'] }, batchNormalization('c', 'y')],
    });
    const weightRead = buildModel({
      inputs: [image],
      outputs: [y],
      constants,
      nodes: [
        { opType: 'Conv', inputs: ['x', 'w'], outputs: ['c'] },
        batchNormalization('c', 'd'),
        { opType: 'Conv', inputs: ['d', 'w'], outputs: ['y'] },
      ],
    });
    for (const model of [outputRead, weightRead]) {
      const result = await cleaned(model);
      expect(operators(result.after)).toEqual(operators(model));
      expect(storedBytes(result.after)).toBe(storedBytes(model));
      await expectSameOutputs(result, sizes, 0);
    }
  });

  test('not when a parameter is an overridable initializer', async () => {
    const model = buildModel({
      inputs: [image],
      outputs: [y],
      constants: { w: randomTensor([4, 4, 1, 1]), ...normalization(4) },
      nodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: ['c'] }, batchNormalization('c', 'y')],
    });
    const gamma = [...model.graph.initializers.keys()].find(({ name }) => name === 'gamma');
    if (gamma) model.graph.inputs.push(gamma);
    expect(operators((await cleaned(model)).after)).toEqual(['BatchNormalization', 'Conv']);
  });
});

describe('constant arithmetic behind a convolution', () => {
  const conv: NodeSpec = { opType: 'Conv', inputs: ['x', 'w', 'b'], outputs: ['c'] };
  const model = (opType: string, operands: string[], constant: Tensor) =>
    buildModel({
      inputs: [image],
      outputs: [y],
      constants: { w: randomTensor([3, 4, 2, 2]), b: randomTensor([3], 2), k: constant },
      nodes: [conv, { opType, inputs: operands, outputs: ['y'] }],
    });
  const perChannel = randomTensor([3, 1, 1], 5);

  test.each([
    ['Add', ['k', 'c'], perChannel],
    ['Mul', ['c', 'k'], perChannel],
    ['Sub', ['c', 'k'], perChannel],
    ['Sub', ['k', 'c'], perChannel],
    ['Div', ['c', 'k'], perChannel],
    ['Mul', ['c', 'k'], float32Tensor([], [0.7])],
  ] as const)('%s of %j folds when the constant varies by channel only', async (opType, operands, constant) => {
    const result = await cleaned(model(opType, [...operands], constant));
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result, sizes);
  });

  test.each([
    ['varies along the width', randomTensor([5], 5)],
    ['adds an axis', randomTensor([2, 1, 3, 1, 1], 5)],
  ])('stays when the constant %s', async (_, constant) => {
    const result = await cleaned(model('Add', ['c', 'k'], constant));
    expect(operators(result.after)).toEqual(['Add', 'Conv']);
    await expectSameOutputs(result, sizes, 0);
  });
});

describe('padding, unfolding and transposed convolution', () => {
  const padded = (pads: number[], mode?: string, value?: number) =>
    buildModel({
      inputs: [image],
      outputs: [y],
      constants: {
        w: randomTensor([3, 4, 3, 3]),
        p: int64Tensor([8], pads),
        ...(value === undefined ? {} : { v: float32Tensor([], [value]) }),
      },
      nodes: [
        {
          opType: 'Pad',
          inputs: value === undefined ? ['x', 'p'] : ['x', 'p', 'v'],
          outputs: ['a'],
          ...(mode ? { attributes: { mode: attributeOf.string(mode) } } : {}),
        },
        { opType: 'Conv', inputs: ['a', 'w'], outputs: ['y'], attributes: { pads: attributeOf.ints([0, 1, 0, 0]) } },
      ],
    });

  test('zero padding of the image moves into the convolution', async () => {
    const result = await cleaned(padded([0, 0, 1, 2, 0, 0, 0, 1]));
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result, sizes);
  });

  test.each([
    ['of the batch', padded([1, 0, 1, 0, 0, 0, 0, 0])],
    ['that cuts', padded([0, 0, -1, 0, 0, 0, 0, 0])],
    ['by reflection', padded([0, 0, 1, 1, 0, 0, 1, 1], 'reflect')],
    ['with a value', padded([0, 0, 1, 1, 0, 0, 1, 1], undefined, 2)],
  ])('padding %s stays', async (_, model) => {
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Conv', 'Pad']);
    await expectSameOutputs(result, sizes, 0);
  });

  const transposed = (attributes: Record<string, Attribute>) =>
    buildModel({
      inputs: [image],
      outputs: [y],
      constants: { w: randomTensor([4, 3, 3, 2]), b: randomTensor([6], 2) },
      nodes: [
        { opType: 'ConvTranspose', inputs: ['x', 'w', 'b'], outputs: ['y'], attributes: { group: attributeOf.int(2), ...attributes } },
      ],
    });

  test.each([
    ['without padding', {}],
    ['with padding', { pads: attributeOf.ints([1, 0, 2, 1]) }],
    ['with dilation', { dilations: attributeOf.ints([2, 3]), pads: attributeOf.ints([3, 1, 0, 2]) }],
  ])('ConvTranspose with stride 1 %s is a convolution', async (_, attributes) => {
    const result = await cleaned(transposed(attributes));
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result, sizes);
  });

  test.each([
    ['a stride', { strides: attributeOf.ints([2, 1]) }],
    ['more padding than kernel', { pads: attributeOf.ints([3, 0, 0, 0]) }],
    ['an output shape', { output_shape: attributeOf.ints([9, 7]) }],
  ])('ConvTranspose with %s stays', async (_, attributes) => {
    const result = await cleaned(transposed(attributes));
    expect(operators(result.after)).toEqual(['ConvTranspose']);
    await expectSameOutputs(result, sizes, 0);
  });

  const unfolded = (indices: number[]) =>
    buildModel({
      inputs: [{ name: 'x', shape: [2, 4, 1, 9] }],
      outputs: [y],
      constants: {
        w: randomTensor([5, 12, 1, 1]),
        i: int64Tensor([3, indices.length / 3], indices),
        s: int64Tensor([4], [2, 12, 1, indices.length / 3]),
      },
      nodes: [
        { opType: 'Gather', inputs: ['x', 'i'], outputs: ['g'], attributes: { axis: attributeOf.int(3) } },
        { opType: 'Reshape', inputs: ['g', 's'], outputs: ['r'] },
        { opType: 'Conv', inputs: ['r', 'w'], outputs: ['y'] },
      ],
    });

  test.each([
    ['neighbours', [0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6, 7, 8]],
    ['every second position, two apart', [0, 2, 4, 2, 4, 6, 4, 6, 8]],
  ])('a gathered window of %s that is mixed is a wider convolution', async (_, indices) => {
    const result = await cleaned(unfolded(indices));
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result);
  });

  test('a window that leaves positions out stays gathered', async () => {
    const result = await cleaned(unfolded([0, 1, 2, 1, 2, 3, 2, 3, 4]));
    expect(operators(result.after)).toEqual(['Conv', 'Gather', 'Reshape']);
    await expectSameOutputs(result, [{}], 0);
  });
});

describe('phases of an image', () => {
  const slice = (input: string, output: string, { axis, start, step }: { axis: number; start: number; step: number }): NodeSpec => ({
    opType: 'Slice',
    inputs: [input, `at_${start}`, 'end', `at_${axis}`, `at_${step}`],
    outputs: [output],
  });
  const positions = Object.fromEntries([0, 1, 2, 3].map((at) => [`at_${at}`, int64Tensor([1], [at])]));

  /** Rows in steps of 2, columns in steps of 3, joined in an order of its own. */
  function focus(order: readonly (readonly [row: number, column: number])[], attributes: Record<string, Attribute>) {
    return buildModel({
      inputs: [{ name: 'x', shape: ['n', 2, 8, 9] as const }],
      outputs: [y],
      constants: { w: randomTensor([5, 2 * order.length, 3, 2]), b: randomTensor([5], 2), end: int64Tensor([1], [2 ** 40]), ...positions },
      nodes: [
        ...order.flatMap(([row, column], at) => [
          slice('x', `r${at}`, { axis: 2, start: row, step: 2 }),
          slice(`r${at}`, `p${at}`, { axis: 3, start: column, step: 3 }),
        ]),
        { opType: 'Concat', inputs: order.map((_, at) => `p${at}`), outputs: ['joined'], attributes: { axis: attributeOf.int(1) } },
        { opType: 'Conv', inputs: ['joined', 'w', 'b'], outputs: ['y'], attributes },
      ],
    });
  }

  const every = [0, 1].flatMap((row) => [2, 0, 1].map((column) => [row, column] as const));

  test.each<Record<string, Attribute>>([
    {},
    { pads: attributeOf.ints([1, 0, 2, 1]), strides: attributeOf.ints([2, 1]), kernel_shape: attributeOf.ints([3, 2]) },
  ])('joined before a convolution are a convolution with larger strides, attributes %o', async (attributes) => {
    const result = await cleaned(focus(every, attributes));
    expect(operators(result.after)).toEqual(['Conv']);
    await expectSameOutputs(result, sizes);
    expect(storedBytes(result.after)).toBeLessThanOrEqual(storedBytes(result.before));
  });

  test.each([
    ['a phase is missing', every.slice(1), {}],
    ['a phase comes twice', [...every.slice(1), [0, 0] as const], {}],
    ['the convolution has dilations', every, { dilations: attributeOf.ints([1, 2]) }],
  ] as const)('stay when %s', async (_, order, attributes) => {
    const result = await cleaned(focus(order, attributes));
    expect(operators(result.after)).toContain('Concat');
    await expectSameOutputs(result, sizes);
  });
});
