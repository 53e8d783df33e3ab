/** Equal computations are made once; random ones, and those that differ in any attribute, are not equal. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators, randomTensor, storedBytes } from './clean-up-oracle.js';

const x = { name: 'x', shape: ['n', 4] as const };
const y = { name: 'y', shape: null };

const pair = (opType: string, first: Record<string, ReturnType<typeof attributeOf.int>>, second = first) =>
  buildModel({
    inputs: [x],
    outputs: [y],
    nodes: [
      { opType, inputs: ['x'], outputs: ['a'], attributes: first },
      { opType, inputs: ['x'], outputs: ['b'], attributes: second },
      { opType: 'Add', inputs: ['a', 'b'], outputs: ['y'] },
    ],
  });

describe('common subexpressions', () => {
  test('two equal nodes become one', async () => {
    const result = await cleaned(pair('Softmax', { axis: attributeOf.int(1) }));
    expect(operators(result.after)).toEqual(['Add', 'Softmax']);
    await expectSameOutputs(result, [{ n: 2 }], 0);
  });

  test('nodes that differ in an attribute stay two', async () => {
    const result = await cleaned(pair('Softmax', { axis: attributeOf.int(1) }, { axis: attributeOf.int(0) }));
    expect(operators(result.after)).toEqual(['Add', 'Softmax', 'Softmax']);
    await expectSameOutputs(result, [{ n: 2 }], 0);
  });

  test.each(['Bernoulli', 'RandomNormalLike', 'RandomUniformLike'])('two draws of %s stay two draws', async (opType) => {
    const { after } = await cleaned(pair(opType, { seed: attributeOf.float(1) }));
    expect(operators(after)).toEqual(['Add', opType, opType]);
  });

  test('a node whose twin makes a graph output gives way to it, and two graph outputs stay two', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y, { name: 'z', shape: null }, { name: 'w', shape: null }],
      nodes: [
        { opType: 'Exp', inputs: ['x'], outputs: ['z'] },
        { opType: 'Exp', inputs: ['x'], outputs: ['w'] },
        { opType: 'Exp', inputs: ['x'], outputs: ['a'] },
        { opType: 'Neg', inputs: ['a'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Exp', 'Exp', 'Neg']);
    await expectSameOutputs(result, [{ n: 2 }], 0);
  });

  test('If nodes are equal only when their branches are', async () => {
    const branch = (opType: string) =>
      attributeOf.graph(
        buildModel({
          outputs: [{ name: `${opType}_out`, shape: null }],
          constants: { k: float32Tensor([1], [2]) },
          nodes: [{ opType, inputs: ['k'], outputs: [`${opType}_out`] }],
        }).graph,
      );
    const conditional = (name: string, other: string) => ({
      opType: 'If',
      inputs: ['c'],
      outputs: [name],
      attributes: { then_branch: branch('Neg'), else_branch: branch(other) },
    });
    const model = buildModel({
      inputs: [{ name: 'c', dataType: 'bool', shape: [] }],
      outputs: [y],
      nodes: [
        conditional('a', 'Abs'),
        conditional('b', 'Abs'),
        conditional('d', 'Exp'),
        { opType: 'Add', inputs: ['a', 'b'], outputs: ['s'] },
        { opType: 'Add', inputs: ['s', 'd'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after).filter((opType) => opType === 'If')).toHaveLength(2);
    await expectSameOutputs(result, [{}, {}], 0);
  });

  test('equal initializers are stored once', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { v: randomTensor([4, 4]), w: randomTensor([4, 4]) },
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'v'], outputs: ['a'] },
        { opType: 'MatMul', inputs: ['a', 'w'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(storedBytes(result.after)).toBe(64);
    await expectSameOutputs(result, [{ n: 2 }], 0);
  });
});
