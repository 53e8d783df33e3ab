/** What of a model is quantized already, told by its operators. */
import { type Model, type Node, nodesWithin } from '../ir/index.js';

export type QuantizationFormat = 'none' | 'qdq' | 'qoperator' | 'dynamic' | 'weight-only' | 'mixed';

/** Counts of nodes by the way they are quantized. */
export interface QuantizationState {
  readonly format: QuantizationFormat;
  /** QuantizeLinear, and DequantizeLinear of what is no weight. */
  readonly qdq_nodes: number;
  /** Operators that take quantized tensors with scales: QLinearConv, QLinearMatMul, QGemm. */
  readonly qoperator_nodes: number;
  /** Operators that quantize activations while running, or work on such activations. */
  readonly dynamic_nodes: number;
  /** Float operators on weights stored in few bits: MatMulNBits, DequantizeLinear of a constant without QuantizeLinear. */
  readonly weight_only_nodes: number;
}

const dynamicOperators: ReadonlySet<string> = new Set([
  'DynamicQuantizeLinear',
  'MatMulInteger',
  'ConvInteger',
  'DynamicQuantizeMatMul',
  'MatMulIntegerToFloat',
  'DynamicQuantizeLSTM',
  'QAttention',
]);
const weightOnlyOperators: ReadonlySet<string> = new Set(['MatMulNBits', 'MatMulBnb4', 'MatMulFpQ4', 'GatherBlockQuantized', 'QMoE']);

export function quantizationState(model: Model): QuantizationState {
  const counts = { qdq_nodes: 0, qoperator_nodes: 0, dynamic_nodes: 0, weight_only_nodes: 0 };
  let constantDequantize = 0;
  for (const node of nodesWithin(model.graph)) {
    if (node.opType === 'QuantizeLinear') counts.qdq_nodes += 1;
    else if (node.opType === 'DequantizeLinear') {
      if (dequantizesConstant(node)) constantDequantize += 1;
      else counts.qdq_nodes += 1;
    } else if (dynamicOperators.has(node.opType)) counts.dynamic_nodes += 1;
    else if (weightOnlyOperators.has(node.opType)) counts.weight_only_nodes += 1;
    else if (/^(QLinear|QGemm$)/.test(node.opType)) counts.qoperator_nodes += 1;
  }
  // Dequantized weights belong to the QDQ format where activations are quantized too.
  if (counts.qdq_nodes > 0) counts.qdq_nodes += constantDequantize;
  else counts.weight_only_nodes += constantDequantize;
  return { format: formatOf(counts), ...counts };
}

/** True when the input is a constant of the model, directly or through nodes that only move data (Gather of an embedding). */
function dequantizesConstant(node: Node): boolean {
  const source = node.inputs[0];
  if (!source?.producer) return true;
  return source.producer.opType === 'Constant' || (source.producer.opType === 'Gather' && !source.producer.inputs[0]?.producer);
}

function formatOf(counts: Omit<QuantizationState, 'format'>): QuantizationFormat {
  const formats: [number, QuantizationFormat][] = [
    [counts.qdq_nodes, 'qdq'],
    [counts.qoperator_nodes, 'qoperator'],
    [counts.dynamic_nodes, 'dynamic'],
    [counts.weight_only_nodes, 'weight-only'],
  ];
  // QOperator models quantize their inputs and dequantize their outputs with Q/DQ nodes.
  const used = formats.filter(([count, format]) => count > 0 && !(format === 'qdq' && counts.qoperator_nodes > 0));
  const [only, another] = used;
  if (!only) return 'none';
  return another ? 'mixed' : only[1];
}
