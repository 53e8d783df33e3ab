/** Keeps the runtime from quantizing weights that were left in float between integer operators. */
import { attributeOf, type Graph, type Node, type Value } from '../../ir/index.js';
import { reportName, type WeightStore } from '../../layers/weight-store.js';

/** Operators whose float weights onnxruntime's WeightBiasQuantization turns into int8, one scale for all (onnxruntime.md 1.8). */
const operatorsInDanger: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm']);
const seenThrough: ReadonlySet<string> = new Set(['Relu', 'Clip']);

/**
 * The pass looks for DequantizeLinear -> operator with float weights -> (Relu or Clip) -> QuantizeLinear. LeakyRelu is not among what it
 * looks through and fuses into the convolution: with slope 1 it changes nothing, with slope 0 it is Relu. Returns the guarded nodes.
 */
export function guardFloatWeights(graph: Graph, store: WeightStore): Node[] {
  const guarded: Node[] = [];
  for (const node of [...graph.nodes]) {
    const [activation, weight] = node.inputs;
    const output = node.outputs[0];
    if (!operatorsInDanger.has(node.opType) || node.domain !== '' || !activation || !weight || !output) continue;
    if (activation.producer?.opType !== 'DequantizeLinear' || weight.producer?.opType === 'DequantizeLinear') continue;
    const exit = exitBefore(output);
    if (!exit) continue;
    guard(graph, { store, node, output, activation: exit.activation });
    guarded.push(node);
  }
  return guarded;
}

/** The Relu or Clip, if any, that lies between `output` and a QuantizeLinear. */
function exitBefore(output: Value): { activation: Node | null } | null {
  const readers = output.consumers;
  if (readers.some(({ opType }) => opType === 'QuantizeLinear')) return { activation: null };
  for (const reader of readers) {
    const isExit = seenThrough.has(reader.opType) && reader.outputs[0]?.consumers.some(({ opType }) => opType === 'QuantizeLinear');
    if (isExit) return { activation: reader };
  }
  return null;
}

function guard(
  graph: Graph,
  { store, node, output, activation }: { store: WeightStore; node: Node; output: Value; activation: Node | null },
): void {
  const slope = activation?.opType === 'Relu' && output.uses.length === 1 ? 0 : 1;
  const isRelu = slope === 0;
  const target = isRelu ? (activation?.outputs[0] ?? output) : output;
  const raw = isRelu ? output : store.newValue(`${output.name}_unguarded`);
  if (isRelu && activation) graph.remove([activation]);
  else node.setOutput(0, raw);
  const attributes = { alpha: attributeOf.float(slope) };
  graph.insertAfter(
    node,
    store.newNode({ opType: 'LeakyRelu', inputs: [raw], outputs: [target], attributes }, `${reportName(node)}_guard`),
  );
}
