/** What is the same in every run is computed once and stored, unless the file would grow for it. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, int64Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { cleanUp } from '../../../../services/engine/passes/index.js';
import { buildModel } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators, randomTensor, runtime, scratch, storedBytes } from './clean-up-oracle.js';

const x = { name: 'x', shape: ['n', 8] as const };
const y = { name: 'y', shape: null };
const sizes = [{ n: 1 }, { n: 5 }];

describe('constant folding', () => {
  test('stores the result of a chain of constants in place of the chain', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { w: randomTensor([6, 8]), s: float32Tensor([], [0.5]) },
      nodes: [
        { opType: 'Transpose', inputs: ['w'], outputs: ['wt'], attributes: { perm: attributeOf.ints([1, 0]) } },
        { opType: 'Mul', inputs: ['wt', 's'], outputs: ['ws'] },
        { opType: 'MatMul', inputs: ['x', 'ws'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['MatMul']);
    expect(storedBytes(result.after)).toBe(6 * 8 * 4);
    await expectSameOutputs(result, sizes, 0);
  });

  test('keeps computing a constant that is far larger than what it is made of', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 1] }],
      outputs: [y],
      constants: { shape: int64Tensor([2], [1, 60_000]) },
      nodes: [
        {
          opType: 'ConstantOfShape',
          inputs: ['shape'],
          outputs: ['w'],
          attributes: { value: attributeOf.tensor(float32Tensor([1], [0.25])) },
        },
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['ConstantOfShape', 'MatMul']);
    expect(storedBytes(result.after)).toBe(storedBytes(model));
    await expectSameOutputs(result, sizes, 0);
  });

  test('does not store a second copy of a large weight that is read in its first form too', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 64] }],
      outputs: [y, { name: 'z', shape: null }],
      constants: { w: randomTensor([64, 64]) },
      nodes: [
        { opType: 'Transpose', inputs: ['w'], outputs: ['wt'], attributes: { perm: attributeOf.ints([1, 0]) } },
        { opType: 'MatMul', inputs: ['x', 'wt'], outputs: ['y'] },
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['z'] },
      ],
    });
    const result = await cleaned(model);
    expect(storedBytes(result.after)).toBeLessThanOrEqual(storedBytes(model) * 1.05);
    await expectSameOutputs(result, sizes, 0);
  });

  test('keeps the nodes that make a constant graph output', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y, { name: 'k', shape: [2] }],
      constants: { a: float32Tensor([2], [1, 2]) },
      nodes: [
        { opType: 'Neg', inputs: ['a'], outputs: ['k'] },
        { opType: 'Relu', inputs: ['x'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Neg', 'Relu']);
    await expectSameOutputs(result, sizes, 0);
  });

  test('keeps DequantizeLinear of a stored weight, whose integers the runtime computes with', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: {
        q: tensorOf(
          'int8',
          [8, 2],
          Int8Array.from({ length: 16 }, (_, at) => at * 5 - 40),
        ),
        s: float32Tensor([], [0.1]),
        z: tensorOf('int8', [], Int8Array.of(0)),
      },
      nodes: [
        { opType: 'DequantizeLinear', inputs: ['q', 's', 'z'], outputs: ['w'] },
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
      ],
    });
    expect(operators((await cleaned(model)).after)).toEqual(['DequantizeLinear', 'MatMul']);
  });

  test.each(['RandomNormal', 'RandomUniform'])('never folds %s, with a seed or without', async (opType) => {
    const attributes = { shape: attributeOf.ints([8]), seed: attributeOf.float(3) };
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      nodes: [
        { opType, inputs: [], outputs: ['r'], attributes },
        { opType, inputs: [], outputs: ['q'], attributes },
        { opType: 'Add', inputs: ['r', 'q'], outputs: ['s'] },
        { opType: 'Add', inputs: ['x', 's'], outputs: ['y'] },
      ],
    });
    expect(operators((await cleaned(model)).after)).toEqual(['Add', 'Add', opType, opType]);
  });

  test('leaves operators of an unknown domain and everything behind them', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { a: float32Tensor([8], [1, 2, 3, 4, 5, 6, 7, 8]) },
      nodes: [
        { opType: 'Mystery', domain: 'test.unknown', inputs: ['a'], outputs: ['b'] },
        { opType: 'Mystery', domain: 'test.unknown', inputs: ['a'], outputs: ['c'] },
        { opType: 'Add', inputs: ['b', 'c'], outputs: ['d'] },
        { opType: 'Add', inputs: ['x', 'd'], outputs: ['y'] },
      ],
    });
    model.opsetImports.set('test.unknown', 1);
    expect(operators((await cleaned(model)).after)).toEqual(['Add', 'Add', 'Mystery', 'Mystery']);
  });

  test('keeps an unknown operator whose output nobody reads, drops a known one', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      nodes: [
        { opType: 'Mystery', domain: 'test.unknown', inputs: ['x'], outputs: ['seen'] },
        { opType: 'Exp', inputs: ['x'], outputs: ['unseen'] },
        { opType: 'Neg', inputs: ['x'], outputs: ['y'] },
      ],
    });
    model.opsetImports.set('test.unknown', 1);
    expect(operators((await cleaned(model)).after)).toEqual(['Mystery', 'Neg']);
  });

  test('leaves a constant computation that the runtime refuses, and folds the others', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { table: float32Tensor([2], [1, 2]), far: int64Tensor([1], [7]), a: float32Tensor([1], [2]) },
      nodes: [
        { opType: 'Gather', inputs: ['table', 'far'], outputs: ['broken'] },
        { opType: 'Exp', inputs: ['a'], outputs: ['e'] },
        { opType: 'Mul', inputs: ['x', 'e'], outputs: ['m'] },
        { opType: 'Add', inputs: ['m', 'broken'], outputs: ['y'] },
      ],
    });
    expect(operators((await cleaned(model)).after)).toEqual(['Add', 'Gather', 'Mul']);
  });

  test('computes 2^63 - 1 as "to the end" exactly', async () => {
    const end = 2n ** 63n - 1n;
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { start: int64Tensor([], [-1]), stop: int64Tensor([], [end]), one: int64Tensor([1], [1]), zero: int64Tensor([1], [0]) },
      nodes: [
        { opType: 'Unsqueeze', inputs: ['start', 'zero'], outputs: ['s'] },
        { opType: 'Unsqueeze', inputs: ['stop', 'zero'], outputs: ['e'] },
        { opType: 'Slice', inputs: ['x', 's', 'e', 'one'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Slice']);
    await expectSameOutputs(result, sizes, 0);
  });

  test('computes integers beyond 2^53 exactly', async () => {
    const model = buildModel({
      inputs: [x],
      outputs: [y],
      constants: { a: int64Tensor([], [2n ** 53n + 1n]), b: int64Tensor([], [2n ** 53n]) },
      nodes: [
        { opType: 'Sub', inputs: ['a', 'b'], outputs: ['one'] },
        { opType: 'Cast', inputs: ['one'], outputs: ['f'], attributes: { to: attributeOf.int(1) } },
        { opType: 'Add', inputs: ['x', 'f'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Add']);
    await expectSameOutputs(result, sizes, 0);
  });

  test('folds the shape arithmetic of a known shape and keeps one unknown size as -1 or 0', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 4, 6] }],
      outputs: [y],
      constants: {
        zero: int64Tensor([], [0]),
        two: int64Tensor([], [2]),
        axis: int64Tensor([1], [0]),
        three: int64Tensor([1], [3]),
        rest: int64Tensor([1], [8]),
      },
      nodes: [
        { opType: 'Shape', inputs: ['x'], outputs: ['shape'] },
        { opType: 'Gather', inputs: ['shape', 'zero'], outputs: ['batch'] },
        { opType: 'Unsqueeze', inputs: ['batch', 'axis'], outputs: ['batch1'] },
        { opType: 'Concat', inputs: ['batch1', 'three', 'rest'], outputs: ['target'], attributes: { axis: attributeOf.int(0) } },
        { opType: 'Reshape', inputs: ['x', 'target'], outputs: ['y'] },
      ],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toEqual(['Reshape']);
    await expectSameOutputs(result, [{ n: 1 }, { n: 3 }], 0);
  });

  test('does not believe that two inputs with the same symbolic size have equal sizes', async () => {
    const model = buildModel({
      inputs: [
        { name: 'x', shape: ['n'] },
        { name: 'v', shape: ['n'] },
      ],
      outputs: [{ name: 'y', dataType: 'bool', shape: null }],
      nodes: [
        { opType: 'Shape', inputs: ['x'], outputs: ['a'] },
        { opType: 'Shape', inputs: ['v'], outputs: ['b'] },
        { opType: 'Equal', inputs: ['a', 'b'], outputs: ['y'] },
      ],
    });
    expect(operators((await cleaned(model)).after)).toEqual(['Equal', 'Shape', 'Shape']);
  });

  test('stops when the caller aborts', async () => {
    const aborted = new AbortController();
    aborted.abort();
    const model = buildModel({ inputs: [x], outputs: [y], nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }] });
    const context = {
      target: 'x64' as const,
      runtime,
      scratch,
      signal: aborted.signal,
      objective: 'latency' as const,
      progress: () => undefined,
    };
    await expect(cleanUp(model, context)).rejects.toThrow(/abort/i);
  });
});
