/** What the runtime makes of a quantized model: its operators, and the nodes that it leaves in float between conversions. */
import type { Model, Node } from '../ir/index.js';
import { allGraphs } from '../ir/traversal.js';
import { integerForm } from '../quantization/index.js';
import { optimizedModel } from '../runtime/fusion-report.js';
import type { OrtRuntime } from '../runtime/ort-session.js';

export interface RuntimeView {
  /** For example 'onnxruntime-node 1.30.0'. */
  readonly name: string;
  /** Operators of the optimized graph, "domain:" before those that are not ONNX's own, with how often they occur. */
  readonly operators: Readonly<Record<string, number>>;
  /** Nodes of the optimized graph that compute on codes. */
  readonly integer: number;
  /** Nodes that compute in float on dequantized values although the runtime has an integer kernel for them. */
  readonly unfused: readonly { readonly node: string; readonly op_type: string }[];
  /** Nodes of any other operator that the runtime computes in float between DequantizeLinear and QuantizeLinear. */
  readonly islands: readonly string[];
}

/** Integer kernels of the CPU provider by operator, of any domain. */
const integerOperator =
  /^(QLinear\w+|QGemm|QAttention|MatMulInteger|MatMulIntegerToFloat|DynamicQuantize(MatMul|LSTM)|ConvInteger|MatMulNBits|GatherBlockQuantized)$/;

/** Names under which the runtime fuses a float operator with the activation behind it. */
const fusedNames: Readonly<Record<string, string>> = { FusedConv: 'Conv', FusedGemm: 'Gemm', FusedMatMul: 'MatMul' };

/** The runtime's graph, or why it refuses the model. */
export async function viewOfRuntime(
  runtime: OrtRuntime,
  model: Model,
  scratch: string,
): Promise<RuntimeView | { readonly refusal: string }> {
  let optimized: Model;
  try {
    optimized = await optimizedModel(runtime, model, scratch);
  } catch (error) {
    return { refusal: error instanceof Error ? error.message : String(error) };
  }
  const operators = new Map<string, number>();
  const unfused: { node: string; op_type: string }[] = [];
  const islands: string[] = [];
  let integer = 0;
  for (const graph of allGraphs(optimized)) {
    for (const node of graph.nodes) {
      const name = node.domain ? `${node.domain}:${node.opType}` : node.opType;
      operators.set(name, (operators.get(name) ?? 0) + 1);
      if (integerOperator.test(node.opType)) integer += 1;
      const reported = node.name || (node.outputs[0]?.name ?? '');
      if (isLeftInFloat(node)) unfused.push({ node: reported, op_type: node.opType });
      else if (isIsland(node)) islands.push(reported);
    }
  }
  return {
    name: runtime.name,
    operators: Object.fromEntries([...operators].sort(([a], [b]) => a.localeCompare(b))),
    integer,
    unfused,
    islands,
  };
}

function readsDequantized(node: Node): boolean {
  return node.inputs.some((value) => value?.producer?.opType === 'DequantizeLinear');
}

function isIsland(node: Node): boolean {
  const readers = node.outputs.flatMap((output) => output?.consumers ?? []);
  return node.opType !== 'QuantizeLinear' && readsDequantized(node) && readers.some((reader) => reader.opType === 'QuantizeLinear');
}

/** Movers at the border of an integer region cost nothing extra: they are not counted. */
function isLeftInFloat(node: Node): boolean {
  const opType = fusedNames[node.opType] ?? node.opType;
  const form = integerForm({ opType, domain: '' });
  const isFloatOperator =
    opType === 'ConvTranspose' || (form !== undefined && !form.moves && (node.domain === '' || opType !== node.opType));
  return isFloatOperator && readsDequantized(node);
}
