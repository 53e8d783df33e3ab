/** Multiply-accumulate operations of one node, a formula per operator. Additions of biases are not counted. */
import { elementCount, intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/index.js';

/** The sizes of input or output `index`; undefined when they are not known. */
export interface NodeShapes {
  input(index: number): readonly number[] | undefined;
  output(index: number): readonly number[] | undefined;
}

/** The count, or null when the shapes do not tell it. */
export type MacFormula = (node: Node, shapes: NodeShapes) => number | null;

/** Y [N, M, o1..on], W [M, C/group, k1..kn]:  |Y| * (C/group) * k1 * ... * kn  =  |Y| * |W| / M */
const convolution =
  (weightIndex: number): MacFormula =>
  (_node, shapes) => {
    const y = shapes.output(0);
    const w = shapes.input(weightIndex);
    return y && w?.[0] ? (elementCount(y) * elementCount(w)) / w[0] : null;
  };

/** X [N, C, i1..in], W [C, M/group, k1..kn]: every input element is multiplied by its C-slice of W:  |X| * |W| / C */
const transposedConvolution: MacFormula = (_node, shapes) => {
  const x = shapes.input(0);
  const w = shapes.input(1);
  return x && w?.[0] ? (elementCount(x) * elementCount(w)) / w[0] : null;
};

/** A [..., M, K] * B [..., K, N] = Y [..., M, N]:  |Y| * K. For vectors, which ONNX allows, it holds as well. */
const matrixProduct: MacFormula = (_node, shapes) => product(shapes.output(0), shapes.input(0)?.at(-1));

/** K is the first of the two matrix axes of A when transA is set. */
const generalProduct: MacFormula = (node, shapes) => {
  const a = shapes.input(0);
  return product(shapes.output(0), intAttribute(node, 'transA', 0) ? a?.at(-2) : a?.at(-1));
};

/** FusedMatMul: as above; transBatchA moves the batch axes and is not counted. */
const fusedProduct: MacFormula = (node, shapes) => (intAttribute(node, 'transBatchA', 0) ? null : generalProduct(node, shapes));

/** MatMulNBits, MatMulBnb4: Y [..., N], K is an attribute:  |Y| * K */
const packedProduct: MacFormula = (node, shapes) => product(shapes.output(0), intAttribute(node, 'K', undefined));

function product(y: readonly number[] | undefined, k: number | undefined): number | null {
  return y && k !== undefined ? elementCount(y) * k : null;
}

/**
 * X [T, B, I], W [D, gates*H, I], R [D, gates*H, H]: each step of each sample multiplies by all of W and R:
 * T * B * (|W| + |R|). Peepholes and gates are elementwise and not counted. layout = 1 swaps T and B only.
 */
const recurrence: MacFormula = (_node, shapes) => {
  const x = shapes.input(0);
  const w = shapes.input(1);
  const r = shapes.input(2);
  if (!x || !w || !r || x.length !== 3) return null;
  return (x[0] ?? 0) * (x[1] ?? 0) * (elementCount(w) + elementCount(r));
};

/**
 * ONNX Attention: Q [B, Hq, Sq, Dk], K [B, Hkv, Skv, Dk], V [B, Hkv, Skv, Dv]:  B * Hq * Sq * Skv * (Dk + Dv).
 * Rank 3 has heads and head size in one axis: [B, S, H * D]. A past (inputs 4, 5) lengthens Skv.
 */
const attention: MacFormula = (node, shapes) => {
  const [q, k, v] = [shapes.input(0), shapes.input(1), shapes.input(2)];
  if (!q || !k || !v || q.length !== k.length || q.length !== v.length) return null;
  const past = node.inputs[4] ? shapes.input(4)?.[2] : 0;
  if (past === undefined) return null;
  if (q.length === 4) {
    const [batch = 0, heads = 0, length = 0, keySize = 0] = q;
    return batch * heads * length * ((k[2] ?? 0) + past) * (keySize + (v[3] ?? 0));
  }
  const queryHeads = intAttribute(node, 'q_num_heads', 0);
  const valueHeads = intAttribute(node, 'kv_num_heads', 0);
  if (q.length !== 3 || !queryHeads || !valueHeads) return null;
  const [batch = 0, length = 0, width = 0] = q;
  return batch * length * ((k[1] ?? 0) + past) * (width + ((v[2] ?? 0) / valueHeads) * queryHeads);
};

/** com.microsoft MultiHeadAttention without past or packing: Q [B, S, D], K [B, L, D], V [B, L, Dv]:  B * S * L * (D + Dv) */
const multiHeadAttention: MacFormula = (node, shapes) => {
  const [q, k, v] = [shapes.input(0), shapes.input(1), shapes.input(2)];
  if (q?.length !== 3 || k?.length !== 3 || v?.length !== 3 || node.inputs[6] || node.inputs[7]) return null;
  const [batch = 0, length = 0, width = 0] = q;
  return batch * length * (k[1] ?? 0) * (width + (v[2] ?? 0));
};

/**
 * com.microsoft Attention, QAttention: X [B, S, I], W [I, Dq + Dk + Dv]; projections, scores, weighted values:
 * B * S * |W| + B * S * S * (Dq + Dv). A past changes the length and is not counted.
 */
const projectedAttention =
  (pastIndex: number): MacFormula =>
  (node, shapes) => {
    const x = shapes.input(0);
    const w = shapes.input(1);
    if (x?.length !== 3 || w?.length !== 2 || node.inputs[pastIndex]) return null;
    const [batch = 0, length = 0] = x;
    const third = (w[1] ?? 0) / 3;
    const [queryWidth = third, , valueWidth = third] = intsAttribute(node, 'qkv_hidden_sizes', []);
    return batch * length * elementCount(w) + batch * length * length * (queryWidth + valueWidth);
  };

/** Two operands, explicit indices: one multiplication per combination of all indices. More operands depend on their order. */
const einsum: MacFormula = (node, shapes) => {
  const operands = (stringAttribute(node, 'equation', '').replaceAll(' ', '').split('->')[0] ?? '').split(',');
  if (operands.length === 1) return 0;
  if (operands.length !== 2 || operands.some((operand) => !/^[A-Za-z]*$/.test(operand))) return null;
  const sizes = new Map<string, number>();
  for (const [index, operand] of operands.entries()) {
    const shape = shapes.input(index);
    if (shape?.length !== operand.length) return null;
    // An index of size 1 broadcasts against the other operand.
    for (const [axis, letter] of [...operand].entries()) sizes.set(letter, Math.max(sizes.get(letter) ?? 1, shape[axis] ?? 1));
  }
  return elementCount([...sizes.values()]);
};

/** By 'domain::Operator'. Operators of the categories linear, attention and recurrent that stand not here are reported as unknown. */
export const macFormulas: ReadonlyMap<string, MacFormula> = new Map([
  ['::Conv', convolution(1)],
  ['::ConvInteger', convolution(1)],
  ['::QLinearConv', convolution(3)],
  ['::DeformConv', convolution(1)],
  ['::ConvTranspose', transposedConvolution],
  ['::MatMul', matrixProduct],
  ['::MatMulInteger', matrixProduct],
  ['::QLinearMatMul', matrixProduct],
  ['::Gemm', generalProduct],
  ['::Einsum', einsum],
  ['::LSTM', recurrence],
  ['::GRU', recurrence],
  ['::RNN', recurrence],
  ['::Attention', attention],
  ['com.microsoft::FusedConv', convolution(1)],
  ['com.microsoft::NhwcFusedConv', convolution(1)],
  ['com.microsoft::QLinearConv', convolution(3)],
  ['com.microsoft::FusedMatMul', fusedProduct],
  ['com.microsoft::FusedGemm', generalProduct],
  ['com.microsoft::QGemm', generalProduct],
  ['com.microsoft::DynamicQuantizeMatMul', matrixProduct],
  ['com.microsoft::MatMulIntegerToFloat', matrixProduct],
  ['com.microsoft::MatMulInteger16', matrixProduct],
  ['com.microsoft::MatMulNBits', packedProduct],
  ['com.microsoft::MatMulBnb4', packedProduct],
  ['com.microsoft::DynamicQuantizeLSTM', recurrence],
  ['com.microsoft::Attention', projectedAttention(4)],
  ['com.microsoft::QAttention', projectedAttention(8)],
  ['com.microsoft::MultiHeadAttention', multiHeadAttention],
]);
