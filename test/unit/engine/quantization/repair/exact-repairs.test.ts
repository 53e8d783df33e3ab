/** Each exact repair: the runtime leaves the node in float (or slow) before, fuses it afterwards, and the numbers are the same. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Tensor, type Model } from '../../../../../services/engine/ir/index.js';
import type { FindingKind } from '../../../../../services/engine/quantization/repair/finding.js';
import { weights } from '../../../../support/build-model.js';
import { codes, integers, QdqModel } from '../../../../support/qdq-model.js';
import { findings, removeScratch, repaired, seenByRuntime } from './repair-fixtures.js';

afterAll(removeScratch);

const u8 = { scale: 0.05, zeroPoint: 128 };
const s8 = { scale: 0.05, zeroPoint: 0, type: 'int8' as const };
const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** x -> Conv -> Conv + shortcut -> Add: the activation of the shortcut has two readers. */
function signedResidual(): Model {
  const model = new QdqModel();
  const x = model.pair(model.input('x', [1, 4, 6, 6]), s8);
  const first = model.pair(model.node('Conv', [x, model.weight('w1', [4, 4, 3, 3], { axis: 0 }).value], { attributes: pads }), s8);
  const second = model.pair(
    model.node('Conv', [first, model.weight('w2', [4, 4, 3, 3], { axis: 0, seed: 2 }).value], { attributes: pads }),
    s8,
  );
  return model.output(model.pair(model.node('Add', [second, first]), { ...s8, scale: 0.1 })).build();
}

function convolution(bias: (model: QdqModel, scales: readonly number[]) => string): Model {
  const model = new QdqModel();
  const x = model.pair(model.input('x', [1, 4, 6, 6]), u8);
  const weight = model.weight('w', [8, 4, 3, 3], { axis: 0 });
  return model.output(model.pair(model.node('Conv', [x, weight.value, bias(model, weight.scales)], { attributes: pads }), u8)).build();
}

function gemm({ bias, quantized = true }: { bias: (model: QdqModel, scales: readonly number[]) => string; quantized?: boolean }): Model {
  const model = new QdqModel();
  const x = model.pair(model.input('x', [2, 16]), u8);
  const weight = model.weight('w', [16, 8], { axis: 1 });
  const product = model.node('Gemm', [x, weight.value, bias(model, weight.scales)]);
  return model.output(quantized ? model.pair(product, u8) : product).build();
}

const floatBias = (model: QdqModel): string => model.constant('b', weights([8], 3));
const wrongBias = (model: QdqModel, scales: readonly number[]): string => model.bias('b', 8, { scales, input: u8.scale, factor: 1.5 });

describe('exact repairs', () => {
  it('signed-activations: int8 activations become uint8, bit for bit, and the residual net fuses', async () => {
    const source = signedResidual();
    expect((await seenByRuntime(source)).unfused.length).toBeGreaterThan(0);
    expect(findings(source, 'signed-activations').some(({ effect }) => effect === 'float')).toBe(true);
    const { model, difference } = await repaired(source);
    expect(difference).toBe(0);
    const view = await seenByRuntime(model);
    expect(view.unfused).toEqual([]);
    expect(view.operators).toMatchObject({ QLinearConv: 2, 'com.microsoft:QLinearAdd': 1 });
  });

  it('signed-activations: codes are followed through operators that move them, and constants beside them', async () => {
    const model = new QdqModel();
    const moved = model.node('Transpose', [model.quantize(model.input('x', [2, 3]), s8)], {
      attributes: { perm: attributeOf.ints([1, 0]) },
    });
    model.constant('c', codes('int8', [3, 2], integers(6, 100)));
    const sum = model.node('Add', [model.dequantize(moved, s8), model.dequantize('c', s8)]);
    const source = model.output(model.pair(sum, s8)).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect(findings(result, 'signed-activations')).toEqual([]);
    expect((await seenByRuntime(result)).operators).toMatchObject({ 'com.microsoft:QLinearAdd': 1 });
  });

  it('signed-activations: QOperator graphs, too', async () => {
    const model = new QdqModel();
    const quantized = model.quantize(model.input('x', [1, 4, 6, 6]), s8);
    model.constant('w', codes('int8', [4, 4, 1, 1], integers(16, 60)));
    const scale = (name: string, value: number): string => model.constant(name, float32Tensor([], [value]));
    const zero = model.constant('z', codes('int8', [], [0]));
    const y = model.node('QLinearConv', [quantized, scale('sx', 0.05), zero, 'w', scale('sw', 0.01), zero, scale('sy', 0.05), zero]);
    const source = model.output(model.dequantize(y, s8)).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    const kept = result.graph.nodes.find((node) => node.opType === 'QLinearConv');
    const types = [2, 5, 7].map((index) => result.graph.constant(kept?.inputs[index] ?? null)?.dataType);
    expect(types).toEqual(['uint8', 'int8', 'uint8']);
  });

  it('signed-activations: codes that the model takes or returns keep their type', () => {
    const model = new QdqModel();
    const y = model.quantize(model.input('x', [2, 3]), s8);
    const source = model.output(y, 'int8').build();
    expect(findings(source, 'signed-activations').map(({ repairable }) => repairable)).toEqual(['no']);
  });

  it('bias-scale: a wrong scale keeps a convolution in float; the bias is quantized again within half a step', async () => {
    const source = convolution(wrongBias);
    expect((await seenByRuntime(source)).unfused).toMatchObject([{ op_type: 'Conv' }]);
    const { model, difference } = await repaired(source);
    expect(difference).toBeLessThanOrEqual(u8.scale * 1.001);
    expect((await seenByRuntime(model)).operators).toMatchObject({ QLinearConv: 1 });
  });

  it('bias-scale: Gemm is fused whatever the scale is, silently wrong; repaired, fused and unfused agree', async () => {
    const source = gemm({ bias: wrongBias });
    expect(findings(source, 'bias-scale')).toMatchObject([{ effect: 'numbers', repairable: 'exact' }]);
    const { model, difference } = await repaired(source);
    expect(difference).toBeLessThanOrEqual(u8.scale * 1.001);
    expect(findings(model, 'bias-scale')).toEqual([]);
  });

  it('bias-scale: a right scale is no finding', () => {
    expect(
      findings(
        convolution((model, scales) => model.bias('b', 8, { scales, input: u8.scale })),
        'bias-scale',
      ),
    ).toEqual([]);
  });

  it('float-bias: Gemm without QuantizeLinear computes in float until its bias is int32', async () => {
    const source = gemm({ bias: floatBias, quantized: false });
    expect((await seenByRuntime(source)).unfused).toMatchObject([{ op_type: 'Gemm' }]);
    const { model, difference } = await repaired(source);
    // Half a step of the accumulator: s_x * max s_w / 2.
    expect(difference).toBeLessThanOrEqual((u8.scale * 0.01 * (1 + 7 / 8)) / 2 + 1e-6);
    expect((await seenByRuntime(model)).operators).toMatchObject({ 'com.microsoft:QGemm': 1 });
  });

  it('missing-zero-point: Gemm fuses once zero points are written out', async () => {
    const model = new QdqModel();
    model.constant('s', float32Tensor([], [0.05]));
    const q = model.node('QuantizeLinear', [model.input('x', [2, 16]), 's']);
    const x = model.node('DequantizeLinear', [q, 's']);
    const product = model.node('Gemm', [x, model.weight('w', [16, 8]).value]);
    const source = model.output(model.pair(product, u8)).build();
    expect(findings(source, 'missing-zero-point')).toHaveLength(1);
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect((await seenByRuntime(result)).operators).toMatchObject({ 'com.microsoft:QGemm': 1 });
  });

  it('transposed-weight: a weight transposed behind its DequantizeLinear', async () => {
    const model = new QdqModel(21);
    const [n, k] = [32, 64];
    model.constant('w', {
      ...codes(
        'uint8',
        [(n * k) / 2],
        integers((n * k) / 2, 127).map((code) => code & 0xff),
      ),
      dataType: 'int4',
      dims: [n, k],
    });
    const scale = model.constant('s', float32Tensor([], [0.01]));
    const w = model.node('Transpose', [model.node('DequantizeLinear', ['w', scale])], { attributes: { perm: attributeOf.ints([1, 0]) } });
    const source = model.output(model.node('MatMul', [model.input('x', [2, k]), w])).build();
    expect((await seenByRuntime(source)).unfused).toMatchObject([{ op_type: 'FusedMatMul' }]);
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect((await seenByRuntime(result)).operators).toMatchObject({ 'com.microsoft:MatMulNBits': 1 });
  });

  it('omitted-permutation: a transposition at which onnxruntime 1.30 ends the process is written out before it is loaded', async () => {
    const model = new QdqModel();
    const x = model.input('x', [2, 16]);
    const source = model
      .output(model.node('MatMul', [x, model.node('Transpose', [model.weight('w', [8, 16], { axis: 0 }).value])]))
      .build();
    expect(findings(source, 'omitted-permutation')).toMatchObject([{ effect: 'fails', repairable: 'exact' }]);
    const { model: result, difference } = await repaired(source, ['omitted-permutation']);
    expect(difference).toBe(0);
    await seenByRuntime(result);
  });

  it.each([8, 4] as const)('transposed-weight: Gemm with transB = 1, float activations and %i-bit weights', async (bits) => {
    const model = new QdqModel(21);
    const [n, k] = [32, 64];
    const bytes = Uint8Array.from(integers((n * k * bits) / 8, 127), (value) => value & 0xff);
    model.constant('w', { ...codes('uint8', [bytes.length], [...bytes]), dataType: bits === 8 ? 'int8' : 'int4', dims: [n, k] });
    model.constant('s', weights([n, k / 32], 5));
    const w = model.node('DequantizeLinear', ['w', 's'], { attributes: { axis: attributeOf.int(1), block_size: attributeOf.int(32) } });
    const y = model.node('Gemm', [model.input('x', [3, k]), w], { attributes: { transB: attributeOf.int(1) } });
    const source = model.output(y).build();
    expect((await seenByRuntime(source)).unfused).toMatchObject([{ op_type: 'Gemm' }]);
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect((await seenByRuntime(result)).operators).toMatchObject({ 'com.microsoft:MatMulNBits': 1 });
  });

  it.each([undefined, 0, 1])('embedding-dequantize: rows are looked up as codes (scales along axis %s)', async (axis) => {
    const model = new QdqModel();
    const ids = model.input('ids', [2, 3], 'int64');
    const table = model.weight('table', [50, 8], { type: axis === undefined ? 'uint8' : 'int8', ...(axis === undefined ? {} : { axis }) });
    const source = model.output(model.node('Gather', [table.value, ids])).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect(findings(result, 'embedding-dequantize')).toEqual([]);
    const lookup = result.graph.nodes.find((node) => node.opType === 'Gather');
    expect(result.graph.constant(lookup?.inputs[0] ?? null)?.dims[0]).toBe(50);
  });

  it('unfolded-weight: the codes of a weight that is quantized in the graph are stored', async () => {
    const model = new QdqModel();
    const x = model.pair(model.input('x', [1, 4, 6, 6]), u8);
    const attributes = { axis: attributeOf.int(0) };
    model.constant('w', weights([8, 4, 1, 1], 4));
    model.constant(
      'ws',
      float32Tensor(
        [8],
        [1, 2, 3, 4, 5, 6, 7, 8].map((each) => each / 1000),
      ),
    );
    model.constant('wz', codes('int8', [8], new Array(8).fill(0)));
    const w = model.node('DequantizeLinear', [model.node('QuantizeLinear', ['w', 'ws', 'wz'], { attributes }), 'ws', 'wz'], { attributes });
    const source = model.output(model.pair(model.node('Conv', [x, w]), u8)).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect([...result.graph.initializers.values()].some(({ dataType, dims }) => dataType === 'float32' && dims.length === 4)).toBe(false);
  });

  it('redundant-activation: a Relu that the codes make redundant goes', async () => {
    const model = new QdqModel();
    const x = model.pair(model.input('x', [2, 16]), u8);
    const relu = model.node('Relu', [model.node('MatMul', [x, model.weight('w', [16, 8]).value])]);
    const source = model.output(model.pair(relu, { scale: 0.02 })).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect(result.graph.nodes.some((node) => node.opType === 'Relu')).toBe(false);
  });

  it('float-operand: a uniform constant becomes code 1 at its own scale', async () => {
    const model = new QdqModel();
    const x = model.pair(model.input('x', [2, 16]), u8);
    const product = model.node('Mul', [x, model.constant('c', float32Tensor([1, 16], new Float32Array(16).fill(0.37)))]);
    const source = model.output(model.pair(product, u8)).build();
    expect((await seenByRuntime(source)).unfused).toMatchObject([{ op_type: 'Mul' }]);
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect((await seenByRuntime(result)).operators).toMatchObject({ 'com.microsoft:QLinearMul': 1 });
  });

  it.each(['Pad', 'SpaceToDepth', 'Relu'])('movable-codes: %s works on the codes', async (opType) => {
    const model = new QdqModel();
    const x = model.pair(model.input('x', [1, 4, 6, 6]), u8);
    const pad = opType === 'Pad' ? [model.constant('pads', codes('int32', [1], [0]))] : [];
    if (opType === 'Pad') model.constant('pads', int64([0, 0, 1, 1, 0, 0, 1, 1]));
    const attributes = opType === 'SpaceToDepth' ? { blocksize: attributeOf.int(2) } : {};
    const y = model.node(opType, [x, ...pad], { attributes });
    const source = model.output(model.pair(y, u8)).build();
    expect(findings(source, 'movable-codes')).toHaveLength(1);
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect((await seenByRuntime(result)).islands).toEqual([]);
  });

  it('repeated-pair: a value that is quantized twice alike is quantized once', async () => {
    const model = new QdqModel();
    const x = model.pair(model.pair(model.input('x', [2, 16]), u8), u8);
    const source = model.output(x).build();
    const { model: result, difference } = await repaired(source);
    expect(difference).toBe(0);
    expect(result.graph.nodes).toHaveLength(2);
  });

  it('per-channel-activation: equal scales become one; different ones fail in the runtime and are reported', async () => {
    const perChannel = (scales: number[]): Model => {
      const model = new QdqModel();
      model.input('x', [1, 4, 6, 6]);
      model.constant('s', float32Tensor([4], scales));
      model.constant('z', codes('uint8', [4], [128, 128, 128, 128]));
      const attributes = { axis: attributeOf.int(1) };
      const x = model.node('DequantizeLinear', [model.node('QuantizeLinear', ['x', 's', 'z'], { attributes }), 's', 'z'], { attributes });
      return model.output(model.pair(model.node('Conv', [x, model.weight('w', [8, 4, 1, 1]).value]), u8)).build();
    };
    const equal = await repaired(perChannel([0.05, 0.05, 0.05, 0.05]));
    expect(equal.difference).toBe(0);
    expect(findings(equal.model, 'per-channel-activation')).toEqual([]);
    expect(findings(perChannel([0.05, 0.06, 0.07, 0.08]), 'per-channel-activation')).toMatchObject([{ effect: 'fails', repairable: 'no' }]);
  });
});

function int64(values: number[]) {
  return {
    ...codes(
      'uint8',
      [values.length * 8],
      values.flatMap((value) => [value, 0, 0, 0, 0, 0, 0, 0]),
    ),
    dataType: 'int64' as const,
    dims: [values.length],
  };
}

describe('what is repaired', () => {
  it('names each repair with its proof, and nothing that is not asked for', async () => {
    const kinds: FindingKind[] = ['bias-scale'];
    const { outcome, model } = await repaired(convolution(floatBias), kinds);
    expect(outcome.nodes.filter(({ action }) => action === 'changed')).toEqual([]);
    expect(findings(model, 'float-bias')).toHaveLength(1);
    const all = await repaired(signedResidual());
    expect(all.outcome.nodes.filter(({ reason }) => reason.startsWith('signed-activations'))).toHaveLength(4);
    for (const { reason } of all.outcome.nodes) expect(reason).toMatch(/bit for bit on \d+ samples|\.$/);
  });
});
