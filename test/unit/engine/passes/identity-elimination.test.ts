/** Operators that return their input leave; those that widen, cast or name an output stay. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, int64Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators } from './clean-up-oracle.js';

const x = { name: 'x', shape: ['n', 3] as const };
const y = { name: 'y', shape: ['n', 3] as const };
const sizes = [{ n: 1 }, { n: 4 }];
const relu: NodeSpec = { opType: 'Relu', inputs: ['x'], outputs: ['a'] };
const tail: NodeSpec = { opType: 'Neg', inputs: ['b'], outputs: ['y'] };

const noops: [string, NodeSpec, Record<string, ReturnType<typeof float32Tensor>>][] = [
  ['Identity', { opType: 'Identity', inputs: ['a'], outputs: ['b'] }, {}],
  ['Dropout at inference', { opType: 'Dropout', inputs: ['a'], outputs: ['b'] }, {}],
  ['Cast to the same type', { opType: 'Cast', inputs: ['a'], outputs: ['b'], attributes: { to: attributeOf.int(1) } }, {}],
  ['Transpose in place', { opType: 'Transpose', inputs: ['a'], outputs: ['b'], attributes: { perm: attributeOf.ints([0, 1]) } }, {}],
  ['Concat of one', { opType: 'Concat', inputs: ['a'], outputs: ['b'], attributes: { axis: attributeOf.int(0) } }, {}],
  [
    'Slice of everything',
    { opType: 'Slice', inputs: ['a', 's', 'e'], outputs: ['b'] },
    { s: int64Tensor([2], [0, 0]), e: int64Tensor([2], [2n ** 63n - 1n, 3]) },
  ],
  ['Pad by nothing', { opType: 'Pad', inputs: ['a', 'p'], outputs: ['b'] }, { p: int64Tensor([4], [0, 0, 0, 0]) }],
  ['Mul by one', { opType: 'Mul', inputs: ['c', 'a'], outputs: ['b'] }, { c: float32Tensor([], [1]) }],
  ['Add of zeros', { opType: 'Add', inputs: ['a', 'c'], outputs: ['b'] }, { c: float32Tensor([1, 3], [0, 0, 0]) }],
  ['Reshape to the same shape', { opType: 'Reshape', inputs: ['a', 'r'], outputs: ['b'] }, { r: int64Tensor([2], [0, 3]) }],
];

describe('identity elimination', () => {
  test.each(noops)('removes %s', async (_, node, constants) => {
    const result = await cleaned(buildModel({ inputs: [x], outputs: [y], constants, nodes: [relu, node, tail] }));
    expect(operators(result.after)).toEqual(['Neg', 'Relu']);
    expect(result.changes.some((change) => change.node === 'b' && change.action === 'removed')).toBe(true);
    await expectSameOutputs(result, sizes);
  });

  test('removes an Identity that makes a graph output by letting the producer take the name over', async () => {
    const result = await cleaned(
      buildModel({ inputs: [x], outputs: [y], nodes: [relu, { opType: 'Identity', inputs: ['a'], outputs: ['y'] }] }),
    );
    expect(operators(result.after)).toEqual(['Relu']);
    await expectSameOutputs(result, sizes);
  });

  test('keeps an Identity between a graph input and a graph output, and between two graph outputs', async () => {
    const both = buildModel({
      inputs: [x],
      outputs: [y, { name: 'a', shape: ['n', 3] }, { name: 'z', shape: ['n', 3] }],
      nodes: [relu, { opType: 'Identity', inputs: ['a'], outputs: ['y'] }, { opType: 'Identity', inputs: ['x'], outputs: ['z'] }],
    });
    const result = await cleaned(both);
    expect(operators(result.after)).toEqual(['Identity', 'Identity', 'Relu']);
    expect(result.changes).toEqual([]);
    await expectSameOutputs(result, sizes);
  });

  test('keeps a multiplication by ones that widens the shape', async () => {
    const widening = buildModel({
      inputs: [{ name: 'x', shape: ['n', 1] }],
      outputs: [y],
      constants: { c: float32Tensor([3], [1, 1, 1]) },
      nodes: [{ opType: 'Mul', inputs: ['x', 'c'], outputs: ['b'] }, tail],
    });
    const result = await cleaned(widening);
    expect(operators(result.after)).toEqual(['Mul', 'Neg']);
    await expectSameOutputs(result, sizes);
  });

  test('keeps a multiplication by an overridable initializer, whatever its default is', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { c: float32Tensor([], [1]) },
      nodes: [relu, { opType: 'Mul', inputs: ['a', 'c'], outputs: ['b'] }, tail],
    });
    const overridable = [...model.graph.initializers.keys()][0];
    if (overridable) model.graph.inputs.push(overridable);
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Mul', 'Neg', 'Relu']);
    expect(result.after.graph.inputs.map(({ name }) => name)).toEqual(['x', 'c']);
  });

  test('takes a listed initializer of an IR 3 file for the constant that it is', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { c: float32Tensor([], [1]) },
      nodes: [relu, { opType: 'Mul', inputs: ['a', 'c'], outputs: ['b'] }, tail],
    });
    const [listed] = model.graph.initializers.keys();
    if (listed) model.graph.inputs.push(listed);
    model.irVersion = 3;
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Neg', 'Relu']);
    expect(result.after.graph.inputs.map(({ name }) => name)).toEqual(['x']);
  });

  test('keeps an IR 3 file as it is when there is nothing to do', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { c: float32Tensor([], [2]) },
      nodes: [{ opType: 'Mul', inputs: ['x', 'c'], outputs: ['y'] }],
    });
    const [listed] = model.graph.initializers.keys();
    if (listed) model.graph.inputs.push(listed);
    model.irVersion = 3;
    const { after, changes } = await cleaned(model);
    expect(changes).toEqual([]);
    expect([after.irVersion, after.graph.inputs.length]).toEqual([3, 2]);
  });

  test('keeps Dropout in training mode and Dropout whose mask is read', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y, { name: 'm', dataType: 'bool', shape: ['n', 3] }],
      constants: { ratio: float32Tensor([], [0.5]), training: tensorOf('bool', [], Uint8Array.of(1)) },
      nodes: [
        { opType: 'Dropout', inputs: ['x', 'ratio', 'training'], outputs: ['b'] },
        { opType: 'Dropout', inputs: ['b'], outputs: ['d', 'm'] },
        { opType: 'Neg', inputs: ['d'], outputs: ['y'] },
      ],
    });
    expect(operators((await cleaned(model)).after)).toEqual(['Dropout', 'Dropout', 'Neg']);
  });
});
