/** Matrix products in every form against central differences. */
import { describe, expect, test } from 'vitest';
import { vjp } from '../../../../services/engine/autodiff/vjp.js';
import { attributeOf, type Value } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

const matMuls = [
  [
    [3, 4],
    [4, 5],
    [3, 5],
  ],
  [
    [2, 3, 4],
    [4, 5],
    [2, 3, 5],
  ],
  [
    [2, 3, 4],
    [2, 4, 5],
    [2, 3, 5],
  ],
  [
    [2, 1, 3, 4],
    [6, 4, 5],
    [2, 6, 3, 5],
  ],
  [
    [3, 4],
    [2, 4, 5],
    [2, 3, 5],
  ],
  [[4], [4, 5], [5]],
  [[3, 4], [4], [3]],
  [[2, 3, 4], [4], [2, 3]],
  [[4], [2, 4, 5], [2, 5]],
  [[4], [4], []],
] as const;

describe('MatMul', () => {
  test.each(matMuls)('%j by %j', async (a, b, y) => {
    const model = buildModel({
      inputs: [
        { name: 'a', shape: a },
        { name: 'b', shape: b },
      ],
      outputs: [{ name: 'y', shape: y }],
      nodes: [{ opType: 'MatMul', inputs: ['a', 'b'], outputs: ['y'] }],
    });
    for (const { error, largest } of await checkGradients({ model, feeds: { a: weights(a, 1), b: weights(b, 2) } })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(1e-3);
    }
  });
});

describe('Gemm', () => {
  const forms = [false, true].flatMap((ta) => [false, true].flatMap((tb) => [[], [5], [3, 1], [3, 5]].map((c) => ({ ta, tb, c }))));
  test.each(forms)('%j', async ({ ta, tb, c }) => {
    const a = ta ? [4, 3] : [3, 4];
    const b = tb ? [5, 4] : [4, 5];
    const model = buildModel({
      inputs: [
        { name: 'a', shape: a },
        { name: 'b', shape: b },
        { name: 'c', shape: c },
      ],
      outputs: [{ name: 'y', shape: [3, 5] }],
      nodes: [
        {
          opType: 'Gemm',
          inputs: ['a', 'b', 'c'],
          outputs: ['y'],
          attributes: {
            transA: attributeOf.int(ta ? 1 : 0),
            transB: attributeOf.int(tb ? 1 : 0),
            alpha: attributeOf.float(0.7),
            beta: attributeOf.float(1.3),
          },
        },
      ],
    });
    const feeds = { a: weights(a, 1), b: weights(b, 2), c: weights(c, 3) };
    for (const { error, largest } of await checkGradients({ model, feeds })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(1e-3);
    }
  });
});

describe('a product that is wanted transposed', () => {
  test.each([
    [
      [4, 3],
      [4, 5],
    ],
    [
      [2, 4, 3],
      [2, 4, 5],
    ],
  ])('%j, first operand transposed: the gradient is a product, and nothing is moved', async (a, b) => {
    const rank = a.length;
    const perm = attributeOf.ints([...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2]);
    const model = buildModel({
      inputs: [
        { name: 'a', shape: a },
        { name: 'b', shape: b },
      ],
      outputs: [{ name: 'y', shape: [...a.slice(0, -2), a.at(-1) ?? 0, b.at(-1) ?? 0] }],
      nodes: [
        { opType: 'Transpose', inputs: ['a'], outputs: ['t'], attributes: { perm } },
        { opType: 'MatMul', inputs: ['t', 'b'], outputs: ['y'] },
      ],
    });
    for (const { error, largest } of await checkGradients({ model, feeds: { a: weights(a, 1), b: weights(b, 2) } })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(1e-3);
    }
    const [y] = model.graph.outputs as [Value];
    const shapes = new Map(
      ['a', 'b', 'y', 't'].map((name) => {
        const dims = name === 'b' ? b : a;
        const [rows = 0, columns = 0] = dims.slice(-2);
        const [, width = 0] = b.slice(-2);
        const last = name === 't' ? [columns, rows] : name === 'y' ? [columns, width] : [rows, columns];
        return [name, [...dims.slice(0, -2), ...last]] as const;
      }),
    );
    const [gradient] = [...vjp({ model, shapes, cotangents: new Map([[y, y]]), wrt: model.graph.inputs.slice(0, 1) }).values()];
    expect(gradient?.producer?.opType).toBe('FusedMatMul');
  });
});
