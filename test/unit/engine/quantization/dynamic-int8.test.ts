import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  attributeOf,
  float32Tensor,
  float32Values,
  Graph,
  int64Tensor,
  integerValues,
  type Model,
  Node,
  type Tensor,
  tensorOf,
  Value,
} from '../../../../services/engine/ir/index.js';
import { dynamicInt8 } from '../../../../services/engine/quantization/dynamic-int8.js';
import { canSaturate } from '../../../../services/engine/quantization/saturation.js';
import { describeCpu } from '../../../../services/engine/runtime/cpu.js';
import { contextFor, integerProduct, ModelBuilder, noise, operators, outputsOf, removeScratch, sqnr, transB } from './method-fixtures.js';

afterAll(removeScratch);

function constantNamed(model: Model, pattern: RegExp): Tensor {
  for (const [value, tensor] of model.graph.initializers) if (pattern.test(value.name)) return tensor;
  throw new Error(`no constant ${pattern}`);
}

function codesOf(model: Model, pattern: RegExp): Int8Array {
  return Int8Array.from(integerValues(constantNamed(model, pattern)));
}

const denseCase = fc.record({
  rows: fc.integer({ min: 1, max: 5 }),
  depth: fc.integer({ min: 8, max: 70 }),
  channels: fc.integer({ min: 16, max: 40 }),
  seed: fc.nat(10_000),
  form: fc.constantFrom('matmul', 'matmul+bias', 'gemm', 'gemm transB', 'gemm scaled'),
  perChannel: fc.boolean(),
  opset: fc.constantFrom(9, 13, 17),
  target: fc.constantFrom('x64' as const, 'x64-vnni' as const),
});

type DenseCase = typeof denseCase extends fc.Arbitrary<infer T> ? T : never;

/** A model with one dense layer in the wanted form. */
function denseModel({ depth, channels, seed, form, opset }: DenseCase): Model {
  const builder = new ModelBuilder({ opset });
  const x = builder.input('x', ['n', depth]);
  const weight = noise(form === 'gemm transB' ? [channels, depth] : [depth, channels], seed, 0.3);
  const w = builder.constant('w', weight);
  const b = builder.constant('b', noise([channels], seed + 1));
  let y: Value;
  if (form.startsWith('matmul')) {
    y = builder.node('MatMul', [x, w]);
    if (form === 'matmul+bias') y = builder.node('Add', [b, y]);
  } else {
    const scaled = { alpha: attributeOf.float(0.5), beta: attributeOf.float(-2) };
    y = builder.node('Gemm', [x, w, b], form === 'gemm transB' ? transB : form === 'gemm scaled' ? scaled : {});
  }
  return builder.output(y).model;
}

describe('dynamic-int8 on MatMul and Gemm', () => {
  it('computes exactly the integer product of the quantized weight, for every shape, form and operator set', async () => {
    await fc.assert(
      fc.asyncProperty(denseCase, async (layer) => {
        const { rows, depth, channels, form } = layer;
        // There the full range of x64-vnni saturates, which is why x64 is another target.
        fc.pre(!(layer.target === 'x64-vnni' && describeCpu().u8s8Saturates));
        const model = denseModel(layer);
        const changes = await dynamicInt8(model, { per_channel: layer.perChannel }, contextFor('integer', layer.target));
        expect(changes[0]).toMatchObject({ action: 'changed', by: 'dynamic-int8' });
        expect(operators(model)).toEqual(['DynamicQuantizeMatMul']);
        const x = noise([rows, depth], layer.seed + 2);
        const factor = form === 'gemm scaled' ? -2 : 1;
        const bias = float32Values(noise([channels], layer.seed + 1)).map((value) => value * factor);
        const exact = integerProduct(float32Values(x), {
          rows,
          depth,
          channels,
          codes: codesOf(model, /^w_int8/),
          scales: float32Values(constantNamed(model, /^w_scale/)),
          ...(form === 'matmul' ? {} : { bias }),
        });
        const [y] = await outputsOf(model, { x });
        // The one freedom left to the runtime is rounding in float32 of the final scale and bias, and of an activation on a tie.
        const size = exact.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
        for (const [at, value] of exact.entries()) expect(Math.abs((y?.[at] ?? Number.NaN) - value)).toBeLessThan(size * 2e-3);
        expect(sqnr(Float32Array.from(exact), y ?? new Float32Array())).toBeGreaterThan(60);
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  it('writes weights that cannot saturate a processor without VNNI, unless the target has it', async () => {
    const layer = { rows: 1, depth: 64, channels: 32, seed: 5, form: 'gemm', perChannel: true, opset: 17 } as const;
    const saturating = async (target: 'x64' | 'x64-vnni'): Promise<number> => {
      const model = denseModel({ ...layer, target });
      await dynamicInt8(model, {}, contextFor('integer', target));
      const codes = codesOf(model, /^w_int8/);
      const columns = Array.from({ length: 32 }, (_, n) => Int8Array.from({ length: 64 }, (_unused, k) => codes[k * 32 + n] ?? 0));
      return columns.filter(canSaturate).length;
    };
    expect(await saturating('x64')).toBe(0);
    expect(await saturating('x64-vnni')).toBeGreaterThan(0);
  });

  it('stores the weight in int8 and computes in float32 where integer arithmetic would not be faster', async () => {
    const layer = { rows: 2, depth: 64, channels: 32, seed: 9, form: 'gemm transB', perChannel: true, opset: 17, target: 'x64' } as const;
    const model = denseModel(layer);
    const [change] = await dynamicInt8(model, {}, contextFor('stored'));
    expect(change?.reason).toMatch(/widened to float32 when the model is loaded: integer arithmetic would not be faster: measured .* us/);
    expect(model.opsetImports.has('com.microsoft')).toBe(false);
    const codes = codesOf(model, /^w_int8/);
    const scales = float32Values(constantNamed(model, /^w_scale/));
    const x = noise([2, 64], 10);
    const reference = denseModel(layer);
    const rounded = [...reference.graph.initializers.keys()].find((value) => value.name === 'w');
    if (!rounded) throw new Error('w is missing');
    reference.graph.initializers.set(
      rounded,
      float32Tensor(
        [32, 64],
        Float32Array.from(codes, (code, at) => code * (scales[at >> 6] ?? 0)),
      ),
    );
    const [expected] = await outputsOf(reference, { x });
    const [y] = await outputsOf(model, { x });
    for (const [at, value] of (expected ?? []).entries()) expect(y?.[at]).toBeCloseTo(value, 5);
  });

  it('measures both forms of a layer on this machine and names both times', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 256]);
    const y = builder.node('MatMul', [x, builder.constant('w', noise([256, 256], 1))]);
    const [change] = await dynamicInt8(builder.output(y).model, {}, contextFor('measured'));
    const [, float, integer] =
      /measured ([\d.]+) us in float32 and ([\d.]+) us in int8 for an activation \[1,256\]/.exec(change?.reason ?? '') ?? [];
    expect(Number(float)).toBeGreaterThan(0.1);
    expect(Number(integer)).toBeGreaterThan(0.1);
  });

  it('stores every layer when the model as a whole would be slower with integer layers, and says both times', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 64]);
    const hidden = builder.node('MatMul', [x, builder.constant('w', noise([64, 64], 1))]);
    const model = builder.output(builder.node('MatMul', [hidden, builder.constant('v', noise([64, 64], 2))])).model;
    const changes = await dynamicInt8(model, {}, contextFor('outweighed'));
    expect([...operators(model)]).not.toContain('DynamicQuantizeMatMul');
    expect([...model.graph.initializers.values()].filter((tensor) => tensor.dataType === 'int8')).toHaveLength(2);
    for (const { reason } of changes) expect(reason).toMatch(/slower with integer layers: [\d.e-]+ ms in float32, [\d.e-]+ ms with/);
  });

  it('quantizes an activation once for all the products that read it', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [1, 's', 48]);
    const products = ['q', 'k', 'v'].map((name, at) => {
      const product = builder.node('MatMul', [x, builder.constant(name, noise([48, 32], at))]);
      return builder.node('Add', [product, builder.constant(`${name}_bias`, noise([32], at + 10))]);
    });
    const y = builder.node('Concat', products, { axis: attributeOf.int(-1) });
    const model = builder.output(y).model;
    const feeds = { x: noise([1, 6, 48], 20) };
    const [before] = await outputsOf(model, feeds);
    await dynamicInt8(model, {}, contextFor('integer'));
    expect(operators(model)).toEqual(['DynamicQuantizeLinear', ...Array(3).fill('MatMulIntegerToFloat'), 'Concat']);
    const [after] = await outputsOf(model, feeds);
    expect(sqnr(before ?? new Float32Array(), after ?? new Float32Array())).toBeGreaterThan(35);
  });

  it('stores a weight once when several layers share it', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 64]);
    const w = builder.constant('w', noise([64, 64], 3, 0.2));
    const y = builder.node('MatMul', [builder.node('Relu', [builder.node('MatMul', [x, w])]), w]);
    const model = builder.output(y).model;
    const feeds = { x: noise([2, 64], 4) };
    const [before] = await outputsOf(model, feeds);
    await dynamicInt8(model, {}, contextFor('integer'));
    expect([...model.graph.initializers.values()].map((tensor) => `${tensor.dataType} ${tensor.dims}`).sort()).toEqual([
      'float32 64',
      'int8 64,64',
    ]);
    const [after] = await outputsOf(model, feeds);
    expect(sqnr(before ?? new Float32Array(), after ?? new Float32Array())).toBeGreaterThan(30);
  });

  it('keeps a weight in float32 when something else than a layer reads it', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 32]);
    const w = builder.constant('w', noise([32, 32], 3));
    builder.output(builder.node('MatMul', [x, w])).output(builder.node('Neg', [w]));
    const [change] = await dynamicInt8(builder.model, {}, contextFor('integer'));
    expect(change).toMatchObject({ action: 'left', reason: 'its weight is also needed in float32 by Neg Neg_1' });
    expect(operators(builder.model)).toEqual(['MatMul', 'Neg']);
  });

  it('reaches layers inside the branches of an If', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 48]);
    const condition = builder.input('condition', [], 'bool');
    const shared = builder.constant('shared', noise([48, 32], 1));
    const branch = (name: string): Graph => {
      const graph = new Graph(name);
      const product = new Value(`${name}_product`);
      const sum = new Value(`${name}_sum`, { kind: 'tensor', dataType: 'float32', shape: null });
      const weight = name === 'then' ? shared : graph.addInitializer(`${name}_weight`, noise([48, 32], 2));
      graph.append(new Node({ opType: 'MatMul', name: `${name}_matmul`, inputs: [x, weight], outputs: [product] }));
      const bias = graph.addInitializer(`${name}_bias`, noise([32], 3));
      graph.append(new Node({ opType: 'Add', inputs: [product, bias], outputs: [sum] }));
      graph.outputs.push(sum);
      return graph;
    };
    const attributes = { then_branch: attributeOf.graph(branch('then')), else_branch: attributeOf.graph(branch('else')) };
    const model = builder.output(builder.node('If', [condition], attributes)).model;
    const feeds = (yes: number) => ({ x: noise([2, 48], 7), condition: tensorOf('bool', [], Uint8Array.of(yes)) });
    const before = [await outputsOf(model, feeds(1)), await outputsOf(model, feeds(0))];
    const changes = await dynamicInt8(model, {}, contextFor('integer'));
    expect(changes.filter(({ action }) => action === 'changed').map(({ node }) => node)).toEqual(['then_matmul', 'else_matmul']);
    const after = [await outputsOf(model, feeds(1)), await outputsOf(model, feeds(0))];
    for (const at of [0, 1]) expect(sqnr(before[at]?.[0] ?? new Float32Array(), after[at]?.[0] ?? new Float32Array())).toBeGreaterThan(35);
  });

  it('moves a model of IR version 3 on, so that its new constants need not be inputs', async () => {
    const builder = new ModelBuilder({ opset: 8, irVersion: 3 });
    const x = builder.input('x', [2, 40]);
    const model = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([40, 30], 1))])).model;
    await dynamicInt8(model, {}, contextFor('integer'));
    expect(model.irVersion).toBe(4);
    expect(model.graph.inputs.map(({ name }) => name)).toEqual(['x']);
    expect((await outputsOf(model, { x: noise([2, 40], 2) }))[0]?.length).toBe(60);
  });
});

describe('dynamic-int8 leaves with a reason', () => {
  const reasonFor = async (build: (builder: ModelBuilder, x: Value) => Value, options = {}): Promise<string | undefined> => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [4, 32]);
    builder.output(build(builder, x));
    const before = operators(builder.model);
    const [change] = await dynamicInt8(builder.model, options, contextFor('integer'));
    expect(change?.action).toBe('left');
    expect(operators(builder.model)).toEqual(before);
    return change?.reason;
  };
  const matmul = (tensor: Tensor) => (builder: ModelBuilder, x: Value) => builder.node('MatMul', [x, builder.constant('w', tensor)]);

  it('products of two activations, constants on the left, tiny and batched weights', async () => {
    expect(await reasonFor((builder, x) => builder.node('MatMul', [x, builder.node('Transpose', [x])]))).toMatch(/two activations/);
    expect(await reasonFor((builder, x) => builder.node('MatMul', [builder.constant('w', noise([64, 4], 1)), x]))).toMatch(/left side/);
    expect(await reasonFor(matmul(noise([32, 2], 1)))).toMatch(/so small/);
    expect(await reasonFor(matmul(noise([2, 32, 32], 1)))).toMatch(/3 axes/);
  });

  it('weights with values that have no code', async () => {
    const broken = Float32Array.from(float32Values(noise([32, 32], 1)));
    broken[7] = Number.NaN;
    expect(await reasonFor(matmul(float32Tensor([32, 32], broken)))).toMatch(/not finite/);
  });

  it('what the recipe excludes, by operator or by name', async () => {
    expect(await reasonFor(matmul(noise([32, 32], 1)), { op_types: ['Gemm'] })).toMatch(/op_types/);
    expect(await reasonFor(matmul(noise([32, 32], 1)), { exclude: ['Mat*_0'] })).toMatch(/excluded/);
  });

  it('convolutions and GRU', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [1, 4, 8, 8]);
    builder.output(builder.node('Conv', [x, builder.constant('w', noise([4, 4, 3, 3], 1))]));
    const [change] = await dynamicInt8(builder.model, {}, contextFor('integer'));
    expect(change).toMatchObject({ op_type: 'Conv', action: 'left' });
    expect(change?.reason).toMatch(/float16-storage/);
  });
});

describe('dynamic-int8 on embedding tables', () => {
  const tableValues = noise([300, 64], 3);

  it('returns the looked-up rows within half a step of their own scale', async () => {
    const builder = new ModelBuilder();
    const ids = builder.input('ids', ['b', 's'], 'int64');
    const model = builder.output(builder.node('Gather', [builder.constant('table', tableValues), ids])).model;
    const rows = [0, 299, -1, 17, 17, 250];
    await dynamicInt8(model, {}, contextFor('stored'));
    const [y] = await outputsOf(model, { ids: int64Tensor([2, 3], rows) });
    const values = float32Values(tableValues);
    for (const [at, id] of rows.entries()) {
      const row = values.subarray(((id + 300) % 300) * 64, (((id + 300) % 300) + 1) * 64);
      const scale = row.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / 127;
      for (const [column, value] of row.entries())
        expect(Math.abs((y?.[at * 64 + column] ?? Number.NaN) - value)).toBeLessThanOrEqual(scale * 0.5001);
    }
  });

  it.each(['Transpose', 'transB'])('holds a table that is tied to an output layer (%s) once', async (tie) => {
    const builder = new ModelBuilder();
    const ids = builder.input('ids', ['s'], 'int64');
    const table = builder.constant('table', tableValues);
    const hidden = builder.node('Gather', [table, ids]);
    const logits =
      tie === 'transB'
        ? builder.node('Gemm', [hidden, table], transB)
        : builder.node('MatMul', [hidden, builder.node('Transpose', [table])]);
    const model = builder.output(logits).model;
    const feeds = { ids: int64Tensor([3], [1, 2, 299]) };
    const [before] = await outputsOf(model, feeds);
    await dynamicInt8(model, {}, contextFor('integer'));
    const bytes = [...model.graph.initializers.values()].reduce((sum, tensor) => sum + tensor.data.byteLength, 0);
    expect(bytes).toBeLessThan(300 * 64 + 300 * 4 * 2 + 64);
    const [after] = await outputsOf(model, feeds);
    expect(sqnr(before ?? new Float32Array(), after ?? new Float32Array())).toBeGreaterThan(30);
  });

  it('leaves tables when the recipe says so', async () => {
    const builder = new ModelBuilder();
    const ids = builder.input('ids', ['s'], 'int64');
    builder.output(builder.node('Gather', [builder.constant('table', tableValues), ids]));
    const [change] = await dynamicInt8(builder.model, { embeddings: false }, contextFor('integer'));
    expect(change).toMatchObject({ action: 'left', reason: 'embeddings is false in the recipe' });
  });
});

const lstmCase = fc.record({
  steps: fc.integer({ min: 1, max: 6 }),
  batch: fc.integer({ min: 1, max: 3 }),
  inputs: fc.integer({ min: 1, max: 9 }),
  hidden: fc.integer({ min: 8, max: 20 }),
  direction: fc.constantFrom('forward', 'reverse', 'bidirectional'),
  state: fc.boolean(),
  perChannel: fc.boolean(),
  form: fc.constantFrom('integer' as const, 'stored' as const),
  seed: fc.nat(1000),
});

describe('dynamic-int8 on LSTM', () => {
  it('stays close to the float32 layer in every direction, with and without initial state, bias and sequence lengths', async () => {
    await fc.assert(
      fc.asyncProperty(lstmCase, async ({ steps, batch, inputs, hidden, direction, state, perChannel, form, seed }) => {
        const directions = direction === 'bidirectional' ? 2 : 1;
        const builder = new ModelBuilder();
        const x = builder.input('x', ['steps', 'batch', inputs]);
        const w = builder.constant('w', noise([directions, 4 * hidden, inputs], seed, 0.5));
        const r = builder.constant('r', noise([directions, 4 * hidden, hidden], seed + 1, 0.5));
        const b = state ? builder.constant('b', noise([directions, 8 * hidden], seed + 2)) : null;
        const h = state ? builder.constant('h', noise([directions, batch, hidden], seed + 3)) : null;
        const c = state ? builder.constant('c', noise([directions, batch, hidden], seed + 4)) : null;
        const attributes = { hidden_size: attributeOf.int(hidden), direction: attributeOf.string(direction) };
        const y = builder.node('LSTM', state ? [x, w, r, b, null, h, c] : [x, w, r], attributes, 3);
        const model = builder.output(y).model;
        const feeds = { x: noise([steps, batch, inputs], seed + 5) };
        const [before] = await outputsOf(model, feeds);
        const [change] = await dynamicInt8(model, { per_channel: perChannel }, contextFor(form));
        expect(change?.action).toBe('changed');
        expect(operators(model).at(-1)).toBe(form === 'integer' ? 'DynamicQuantizeLSTM' : 'LSTM');
        const [after] = await outputsOf(model, feeds);
        expect(after?.length).toBe(before?.length);
        expect(sqnr(before ?? new Float32Array(), after ?? new Float32Array())).toBeGreaterThan(20);
      }),
      { numRuns: 30 },
    );
  }, 60_000);

  it('keeps the float32 kernel for the batch-first layout, which the integer one lacks', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['batch', 'steps', 4]);
    const weights = [builder.constant('w', noise([1, 64, 4], 1)), builder.constant('r', noise([1, 64, 16], 2))];
    builder.output(builder.node('LSTM', [x, ...weights], { hidden_size: attributeOf.int(16), layout: attributeOf.int(1) }));
    const [change] = await dynamicInt8(builder.model, {}, contextFor('integer'));
    expect(change?.reason).toMatch(/batch-first/);
    expect(operators(builder.model)).toContain('LSTM');
  });
});
