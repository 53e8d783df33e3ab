/** MAC counts against counting by hand: the loops of each operator, one multiplication at a time. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, float32Tensor, Graph, Model, Node, type Shape, Value } from '../../../../services/engine/ir/index.js';
import { countMacs } from '../../../../services/engine/ops/index.js';

interface NodeUnderTest {
  readonly op: string;
  readonly domain?: string;
  readonly inputs: readonly (readonly number[] | null)[];
  readonly output: readonly number[];
  readonly attributes?: Record<string, Attribute>;
}

/** A model of one node; its shapes are known only through the map. */
function counted({ op, domain = '', inputs, output, attributes = {} }: NodeUnderTest) {
  const shapes = new Map<string, readonly number[]>([['out', output]]);
  const values = inputs.map((shape, index) => {
    if (shape) shapes.set(`in${index}`, shape);
    return shape && new Value(`in${index}`);
  });
  const graph = new Graph('one');
  for (const value of values) if (value) graph.inputs.push(value);
  const out = new Value('out');
  graph.outputs.push(out);
  graph.append(new Node({ opType: op, domain, name: 'the node', inputs: values, outputs: [out], attributes }));
  return countMacs(new Model(graph), shapes);
}

const size = fc.integer({ min: 1, max: 4 });

describe('convolutions', () => {
  const cases = fc.record({
    batch: size,
    groups: fc.integer({ min: 1, max: 2 }),
    inPerGroup: size,
    outPerGroup: size,
    kernel: size,
    length: size,
  });

  test('Conv: one multiplication per output element, input channel of its group, and kernel tap', () => {
    fc.assert(
      fc.property(cases, ({ batch, groups, inPerGroup, outPerGroup, kernel, length }) => {
        let macs = 0;
        for (let n = 0; n < batch; n++)
          for (let m = 0; m < groups * outPerGroup; m++)
            for (let o = 0; o < length; o++) for (let c = 0; c < inPerGroup; c++) for (let k = 0; k < kernel; k++) macs += 1;
        const weight = [groups * outPerGroup, inPerGroup, kernel];
        const output = [batch, groups * outPerGroup, length];
        const x = [batch, groups * inPerGroup, 99];
        expect(counted({ op: 'Conv', inputs: [x, weight], output }).total).toBe(macs);
        expect(counted({ op: 'ConvInteger', inputs: [x, weight], output }).total).toBe(macs);
        expect(counted({ op: 'QLinearConv', inputs: [x, [], [], weight], output }).total).toBe(macs);
        expect(counted({ op: 'FusedConv', domain: 'com.microsoft', inputs: [x, weight], output }).total).toBe(macs);
      }),
    );
  });

  test('ConvTranspose: one multiplication per input element, output channel of its group, and kernel tap', () => {
    fc.assert(
      fc.property(cases, ({ batch, groups, inPerGroup, outPerGroup, kernel, length }) => {
        const x = [batch, groups * inPerGroup, length];
        const weight = [groups * inPerGroup, outPerGroup, kernel];
        const macs = batch * groups * inPerGroup * length * outPerGroup * kernel;
        expect(counted({ op: 'ConvTranspose', inputs: [x, weight], output: [1] }).total).toBe(macs);
      }),
    );
  });
});

describe('matrix products', () => {
  test('MatMul and its quantized forms: M * N * K for each of the batch', () => {
    fc.assert(
      fc.property(fc.tuple(size, size, size, size), ([batch, m, n, k]) => {
        const one = {
          inputs: [
            [batch, m, k],
            [k, n],
          ],
          output: [batch, m, n],
        };
        for (const op of ['MatMul', 'MatMulInteger', 'QLinearMatMul']) expect(counted({ op, ...one }).total).toBe(batch * m * n * k);
        for (const op of ['FusedMatMul', 'DynamicQuantizeMatMul', 'MatMulIntegerToFloat']) {
          expect(counted({ op, domain: 'com.microsoft', ...one }).total).toBe(batch * m * n * k);
        }
        const attributes = { K: attributeOf.int(k), N: attributeOf.int(n), bits: attributeOf.int(4), block_size: attributeOf.int(32) };
        expect(counted({ op: 'MatMulNBits', domain: 'com.microsoft', ...one, attributes }).total).toBe(batch * m * n * k);
      }),
    );
  });

  test('transposed operands: K is the other axis of A', () => {
    const attributes = { transA: attributeOf.int(1) };
    expect(
      counted({
        op: 'Gemm',
        inputs: [
          [7, 2],
          [7, 3],
        ],
        output: [2, 3],
        attributes,
      }).total,
    ).toBe(2 * 3 * 7);
    expect(
      counted({
        op: 'Gemm',
        inputs: [
          [2, 7],
          [7, 3],
        ],
        output: [2, 3],
      }).total,
    ).toBe(2 * 3 * 7);
    expect(
      counted({
        op: 'FusedMatMul',
        domain: 'com.microsoft',
        inputs: [
          [5, 7, 2],
          [5, 7, 3],
        ],
        output: [5, 2, 3],
        attributes,
      }).total,
    ).toBe(5 * 2 * 3 * 7);
  });

  test('vectors: a dot product of length K is K multiplications', () => {
    expect(counted({ op: 'MatMul', inputs: [[9], [9]], output: [] }).total).toBe(9);
  });

  test.each<[string, number[][], number | null]>([
    [
      'ij,jk->ik',
      [
        [2, 3],
        [3, 4],
      ],
      24,
    ],
    [
      'bij, bjk -> bik',
      [
        [5, 2, 3],
        [5, 3, 4],
      ],
      120,
    ],
    [
      'bhid,bhjd->bhij',
      [
        [2, 3, 4, 5],
        [2, 3, 6, 5],
      ],
      2 * 3 * 4 * 6 * 5,
    ],
    ['ii->i', [[3, 3]], 0],
    [
      '...ij,jk->...ik',
      [
        [2, 3],
        [3, 4],
      ],
      null,
    ],
    ['i,i,i->', [[2], [2], [2]], null],
  ])('Einsum %s', (equation, inputs, macs) => {
    const count = counted({ op: 'Einsum', inputs, output: [1], attributes: { equation: attributeOf.string(equation) } });
    expect(count.unknown).toHaveLength(macs === null ? 1 : 0);
    expect(count.total).toBe(macs ?? 0);
  });
});

describe('recurrence and attention', () => {
  test.each([
    ['LSTM', 4],
    ['GRU', 3],
    ['RNN', 1],
  ])('%s: %d gates, each step multiplies input and state', (op, gates) => {
    const [steps, batch, input, hidden, directions] = [5, 2, 3, 4, 2];
    const inputs = [
      [steps, batch, input],
      [directions, gates * hidden, input],
      [directions, gates * hidden, hidden],
    ];
    const macs = steps * batch * directions * gates * (hidden * input + hidden * hidden);
    expect(counted({ op, inputs, output: [1] }).total).toBe(macs);
  });

  test('Attention: scores and weighted values of every head, in both layouts', () => {
    const [batch, heads, queries, keys, dk, dv] = [2, 3, 4, 5, 6, 7];
    const macs = batch * heads * queries * keys * (dk + dv);
    const rank4 = [
      [batch, heads, queries, dk],
      [batch, heads, keys, dk],
      [batch, heads, keys, dv],
    ];
    expect(counted({ op: 'Attention', inputs: rank4, output: [1] }).total).toBe(macs);
    const rank3 = [
      [batch, queries, heads * dk],
      [batch, keys, heads * dk],
      [batch, keys, heads * dv],
    ];
    const attributes = { q_num_heads: attributeOf.int(heads), kv_num_heads: attributeOf.int(heads) };
    expect(counted({ op: 'Attention', inputs: rank3, output: [1], attributes }).total).toBe(macs);
    expect(counted({ op: 'MultiHeadAttention', domain: 'com.microsoft', inputs: rank3, output: [1] }).total).toBe(macs);
    const past = [[batch, heads, 1, dk], [batch, heads, keys, dk], [batch, heads, keys, dv], null, [batch, heads, 10, dk]];
    expect(counted({ op: 'Attention', inputs: past, output: [1] }).total).toBe(batch * heads * (keys + 10) * (dk + dv));
  });

  test('com.microsoft Attention: projections of input to query, key and value, then attention', () => {
    const [batch, length, input, width] = [2, 5, 8, 12];
    const macs = batch * length * input * 3 * width + 2 * batch * length * length * width;
    expect(
      counted({
        op: 'Attention',
        domain: 'com.microsoft',
        inputs: [
          [batch, length, input],
          [input, 3 * width],
        ],
        output: [1],
      }).total,
    ).toBe(macs);
  });
});

describe('what cannot be counted is named, not guessed', () => {
  test('a known operator whose shapes are missing', () => {
    const count = counted({ op: 'Conv', inputs: [[1, 1, 4], null], output: [1, 1, 4] });
    expect(count).toEqual({ total: 0, perNode: [], unknown: [{ node: 'the node', op_type: 'Conv', reason: 'its shapes are not known' }] });
  });

  test('an operator nobody knows, and one that multiplies by no formula of ours', () => {
    expect(counted({ op: 'Mystery', domain: 'test', inputs: [[1]], output: [1] }).unknown[0]?.reason).toMatch(/not known/);
    expect(counted({ op: 'DFT', inputs: [[1]], output: [1] }).unknown[0]?.reason).toMatch(/no formula/);
  });

  test('an attribute of the wrong type', () => {
    const attributes = { transA: attributeOf.float(1) };
    expect(
      counted({
        op: 'Gemm',
        inputs: [
          [1, 1],
          [1, 1],
        ],
        output: [1, 1],
        attributes,
      }).unknown[0]?.reason,
    ).toMatch(/attributes/);
  });

  test('operators that do not multiply and accumulate count as none', () => {
    for (const op of ['Relu', 'Reshape', 'Softmax', 'MaxPool'])
      expect(counted({ op, inputs: [null], output: [1] })).toEqual({ total: 0, perNode: [], unknown: [] });
  });
});

describe('subgraphs', () => {
  const body = (name: string, sizes: Shape): Graph => {
    const graph = new Graph(name);
    const weight = graph.addInitializer(`${name}_w`, float32Tensor([3, 3], new Float32Array(9)));
    const x = new Value(`${name}_x`, { kind: 'tensor', dataType: 'float32', shape: sizes });
    graph.inputs.push(x);
    const out = new Value(`${name}_y`, { kind: 'tensor', dataType: 'float32', shape: sizes });
    graph.append(new Node({ opType: 'MatMul', inputs: [x, weight], outputs: [out] }));
    graph.outputs.push(out);
    return graph;
  };
  const around = (opType: string, attributes: Record<string, Attribute>) => {
    const graph = new Graph('main');
    graph.append(new Node({ opType, name: 'outer', inputs: [], outputs: [new Value('y')], attributes }));
    return countMacs(new Model(graph), new Map());
  };

  test('of an If the more expensive branch counts, with static shapes and constants of the branch', () => {
    const count = around('If', {
      then_branch: attributeOf.graph(body('small', [2, 3])),
      else_branch: attributeOf.graph(body('large', [5, 3])),
    });
    expect(count).toEqual({ total: 5 * 3 * 3, perNode: [{ node: 'large_y', op_type: 'MatMul', macs: 45 }], unknown: [] });
  });

  test('a Loop that multiplies is unknown: its number of rounds is', () => {
    expect(around('Loop', { body: attributeOf.graph(body('b', [2, 3])) }).unknown).toHaveLength(1);
  });
});
