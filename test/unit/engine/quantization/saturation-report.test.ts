/** The saturation report finds every integer product in every form, and its bound is the truth about the pair kernel. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attributeOf, float32Tensor, type Model, type Tensor, tensorOf } from '../../../../services/engine/ir/index.js';
import { convolutionOrder, fromConvolutionOrder } from '../../../../services/engine/quantization/kernel-order.js';
import { saturatingDotProduct } from '../../../../services/engine/quantization/saturation.js';
import { describeSaturation, saturationReport } from '../../../../services/engine/quantization/saturation-report.js';
import { buildModel, type NodeSpec } from '../../../support/build-model.js';

const int8 = (dims: readonly number[], codes: ArrayLike<number>): Tensor => tensorOf('int8', dims, Int8Array.from(codes));
const uint8 = (dims: readonly number[], codes: ArrayLike<number>): Tensor => tensorOf('uint8', dims, Uint8Array.from(codes));
const scalar = (value: number): Tensor => float32Tensor([], [value]);
const parameters = { s: scalar(0.1), zu: uint8([], [3]), z: int8([], [0]) };

interface Case {
  readonly nodes: readonly NodeSpec[];
  readonly constants: Readonly<Record<string, Tensor>>;
}

function model({ nodes, constants }: Case): Model {
  return buildModel({
    inputs: [{ name: 'x', shape: null }],
    outputs: [{ name: 'y', shape: null }],
    constants: { ...parameters, ...constants },
    nodes,
  });
}

const quantizedInput: readonly NodeSpec[] = [
  { opType: 'QuantizeLinear', inputs: ['x', 's', 'zu'], outputs: ['xq'] },
  { opType: 'DequantizeLinear', inputs: ['xq', 's', 'zu'], outputs: ['xd'] },
];
const dequantizedWeight: NodeSpec = { opType: 'DequantizeLinear', inputs: ['w', 's', 'z'], outputs: ['wd'] };
const output: NodeSpec = { opType: 'QuantizeLinear', inputs: ['p', 's', 'zu'], outputs: ['y'] };
const microsoft = 'com.microsoft';

/** Each form of a product of K = 4 codes with `w`, [4, 1] unless it says otherwise. */
const matrixForms: Readonly<Record<string, (w: readonly number[]) => Case>> = {
  'MatMul in Q/DQ form': (w) => ({
    nodes: [...quantizedInput, dequantizedWeight, { opType: 'MatMul', inputs: ['xd', 'wd'], outputs: ['p'] }, output],
    constants: { w: int8([4, 1], w) },
  }),
  'MatMul whose weight is transposed behind DequantizeLinear': (w) => ({
    nodes: [
      ...quantizedInput,
      dequantizedWeight,
      { opType: 'Transpose', inputs: ['wd'], outputs: ['wt'], attributes: { perm: attributeOf.ints([1, 0]) } },
      { opType: 'MatMul', inputs: ['xd', 'wt'], outputs: ['y'] },
    ],
    constants: { w: int8([1, 4], w) },
  }),
  'MatMul whose weight is reshaped before DequantizeLinear': (w) => ({
    nodes: [
      ...quantizedInput,
      { opType: 'Reshape', inputs: ['flat', 'shape'], outputs: ['w'] },
      dequantizedWeight,
      { opType: 'MatMul', inputs: ['xd', 'wd'], outputs: ['y'] },
    ],
    constants: { flat: int8([4], w), shape: tensorOf('int64', [2], BigInt64Array.of(4n, -1n)) },
  }),
  'Gemm with transB whose weight is stored in float before QuantizeLinear': (w) => ({
    nodes: [
      ...quantizedInput,
      { opType: 'QuantizeLinear', inputs: ['float', 's', 'z'], outputs: ['w'] },
      dequantizedWeight,
      { opType: 'Gemm', inputs: ['xd', 'wd'], outputs: ['p'], attributes: { transB: attributeOf.int(1) } },
      output,
    ],
    constants: {
      float: float32Tensor(
        [1, 4],
        w.map((code) => code * Math.fround(0.1)),
      ),
    },
  }),
  QLinearMatMul: (w) => ({
    nodes: [
      { opType: 'QuantizeLinear', inputs: ['x', 's', 'zu'], outputs: ['xq'] },
      { opType: 'QLinearMatMul', inputs: ['xq', 's', 'zu', 'w', 's', 'z', 's', 'zu'], outputs: ['y'] },
    ],
    constants: { w: int8([4, 1], w) },
  }),
  QGemm: (w) => ({
    nodes: [
      { opType: 'QuantizeLinear', inputs: ['x', 's', 'zu'], outputs: ['xq'] },
      { opType: 'QGemm', domain: microsoft, inputs: ['xq', 's', 'zu', 'w', 's', 'z'], outputs: ['y'] },
    ],
    constants: { w: int8([4, 1], w) },
  }),
  'DynamicQuantizeLinear and MatMulInteger': (w) => ({
    nodes: [
      { opType: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['xq', 'xs', 'xz'] },
      { opType: 'MatMulInteger', inputs: ['xq', 'w', 'xz', 'z'], outputs: ['y'] },
    ],
    constants: { w: int8([4, 1], w) },
  }),
  DynamicQuantizeMatMul: (w) => ({
    nodes: [{ opType: 'DynamicQuantizeMatMul', domain: microsoft, inputs: ['x', 'w', 's', 'z'], outputs: ['y'] }],
    constants: { w: int8([4, 1], w) },
  }),
  MatMulIntegerToFloat: (w) => ({
    nodes: [
      { opType: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['xq', 'xs', 'xz'] },
      { opType: 'MatMulIntegerToFloat', domain: microsoft, inputs: ['xq', 'w', 'xs', 's', 'xz', 'z'], outputs: ['y'] },
    ],
    constants: { w: int8([4, 1], w) },
  }),
  'DynamicQuantizeLSTM, recurrent weights': (w) => ({
    nodes: [
      {
        opType: 'DynamicQuantizeLSTM',
        domain: microsoft,
        inputs: ['x', 'w0', 'w', '', '', '', '', '', 's', 'z', 's', 'z'],
        outputs: ['y'],
      },
    ],
    constants: { w0: int8([1, 1, 1], [127]), w: int8([1, 4, 1], w) },
  }),
};

const codes = fc.array(fc.integer({ min: -127, max: 127 }), { minLength: 4, maxLength: 4 });

function exactDotProduct(activations: Uint8Array, weights: Int8Array): number {
  return weights.reduce((sum, weight, k) => sum + weight * (activations[k] ?? 0), 0);
}

/** Whether activation codes 0 and 255 can make the saturating kernel differ from exact arithmetic. */
function someActivationDiffers(weights: Int8Array): boolean {
  for (let mask = 0; mask < 2 ** weights.length; mask += 1) {
    const activations = Uint8Array.from(weights, (_, k) => ((mask >> k) & 1) * 255);
    if (saturatingDotProduct(activations, weights) !== exactDotProduct(activations, weights)) return true;
  }
  return false;
}

describe('saturation report', () => {
  describe.each(Object.entries(matrixForms))('%s', (_, form) => {
    it('says that it saturates exactly when some activation gives another answer', () => {
      fc.assert(
        fc.property(codes, (w) => {
          const report = saturationReport(model(form(w)));
          expect(report.products).toHaveLength(1);
          expect(report.products[0]?.saturates).toBe(someActivationDiffers(Int8Array.from(w)));
          expect(report.exact_on.includes('x64')).toBe(!report.products[0]?.saturates);
        }),
        { numRuns: 25 },
      );
    });
  });

  it('gives the largest pair of neighbours of one sign times 255', () => {
    const [product] = saturationReport(model(matrixForms.QLinearMatMul?.([100, -120, -30, -20]) ?? { nodes: [], constants: {} })).products;
    expect(product?.pair_bound).toBe(255 * 50);
  });

  const convolution = (w: Tensor, group = 1, after: readonly NodeSpec[] = [output]): Case => ({
    nodes: [
      ...quantizedInput,
      dequantizedWeight,
      { opType: 'Conv', name: 'conv', inputs: ['xd', 'wd'], outputs: ['p'], attributes: { group: attributeOf.int(group) } },
      ...after,
    ],
    constants: { w },
  });

  it('pairs the channels of one tap of a convolution, not the taps of one channel', () => {
    const sideBySide = int8([1, 2, 1, 2], [127, 0, 127, 0]);
    const behind = int8([1, 2, 1, 2], [127, 127, 0, 0]);
    expect(saturationReport(model(convolution(sideBySide))).products).toEqual([
      { node: 'conv', op_type: 'Conv', pair_bound: 255 * 254, saturates: true },
    ]);
    expect(saturationReport(model(convolution(behind))).products[0]).toMatchObject({ pair_bound: 0, saturates: false });
  });

  it('knows the kernels that widen: depthwise, uint8 weights, signed operators', () => {
    const large = Array.from({ length: 18 }, () => 127);
    expect(saturationReport(model(convolution(int8([2, 1, 3, 3], large), 2))).exact_on).toContain('x64');
    const unsigned: Case = convolution(uint8([1, 2, 3, 3], large));
    expect(saturationReport(model({ ...unsigned, constants: { ...unsigned.constants, z: uint8([], [128]) } })).products[0]?.saturates).toBe(
      false,
    );
    const signed: Case = {
      nodes: [
        { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['xq'] },
        { opType: 'QLinearMatMul', inputs: ['xq', 's', 'z', 'w', 's', 'z', 's', 'z'], outputs: ['y'] },
      ],
      constants: { w: int8([4, 1], [127, 127, 127, 127]) },
    };
    expect(saturationReport(model(signed)).products[0]?.saturates).toBe(false);
  });

  it('leaves out a convolution that the runtime computes in float', () => {
    const after: NodeSpec[] = [{ opType: 'Tanh', inputs: ['p'], outputs: ['y'] }];
    expect(saturationReport(model(convolution(int8([1, 2, 1, 1], [127, 127]), 1, after))).products).toEqual([]);
  });

  it('uses the largest code of an activation with an upper end', () => {
    const bounded: Case = {
      nodes: [
        { opType: 'Sigmoid', inputs: ['x'], outputs: ['a'] },
        { opType: 'QuantizeLinear', inputs: ['a', 'half', 'zu0'], outputs: ['xq'] },
        { opType: 'QLinearMatMul', inputs: ['xq', 'half', 'zu0', 'w', 's', 'z', 's', 'zu'], outputs: ['y'] },
      ],
      constants: { half: scalar(1 / 127), zu0: uint8([], [0]), w: int8([2, 1], [127, 127]) },
    };
    expect(saturationReport(model(bounded)).products[0]).toMatchObject({ pair_bound: 127 * 254, saturates: false });
  });

  it('counts an operand that is computed in every run as unbounded', () => {
    const attention: Case = {
      nodes: [
        { opType: 'QuantizeLinear', inputs: ['x', 's', 'zu'], outputs: ['a'] },
        { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['b'] },
        { opType: 'QLinearMatMul', inputs: ['a', 's', 'zu', 'b', 's', 'z', 's', 'zu'], outputs: ['y'] },
      ],
      constants: {},
    };
    expect(saturationReport(model(attention)).exact_on).toEqual(['x64-vnni', 'arm64']);
  });

  it('tells in one sentence where the model saturates', () => {
    const report = saturationReport(model(convolution(int8([1, 2, 1, 1], [127, 127]))));
    expect(describeSaturation(report)).toBe('Saturates on x64 without VNNI in "conv": the answer depends on the processor there.');
    expect(describeSaturation({ products: [], exact_on: [] })).toContain('nothing can saturate');
  });

  it('finds the way back from the kernel order of a convolution', () => {
    const dims = [3, 2, 2, 3];
    const w = Int8Array.from({ length: 36 }, (_, at) => at);
    expect(fromConvolutionOrder(convolutionOrder(w, dims), dims)).toEqual(w);
    expect([...convolutionOrder(w, dims).subarray(0, 4)]).toEqual([0, 6, 1, 7]);
  });
});
