/** Gates that stay in float behind codes: x * Sigmoid(x) as the one operator that the runtime makes of it elsewhere. */
import { attributeOf, type Model, type Node, type Value } from '../../ir/index.js';
import { reportName, type WeightStore } from '../../layers/weight-store.js';

/**
 * The runtime fuses x * Sigmoid(x) into QuickGelu, but not where x comes out of DequantizeLinear: it gives every reader a
 * DequantizeLinear of its own (EnsureUniqueDQForNodeUnit), and the two readers do not read the same value any more. Written as
 * QuickGelu (com.microsoft: x * Sigmoid(alpha x)) the pair costs one conversion and one kernel instead of two and two.
 */
export function fuseFloatGates(model: Model, store: WeightStore): void {
  for (const node of [...model.graph.nodes]) {
    const pair = gatedByItself(node);
    if (pair?.value.producer?.opType !== 'DequantizeLinear') continue;
    const output = node.outputs[0];
    if (!output || store.isGraphOutput(pair.gate.outputs[0] ?? output)) continue;
    const inputs = [pair.value];
    const attributes = { alpha: attributeOf.float(1) };
    const fused = store.newNode({ opType: 'QuickGelu', domain: 'com.microsoft', inputs, outputs: [output], attributes }, reportName(node));
    model.graph.insertBefore(node, fused);
    model.graph.remove([node, pair.gate]);
    fused.name = node.name;
    if (!model.opsetImports.has('com.microsoft')) model.opsetImports.set('com.microsoft', 1);
  }
}

/** x and the Sigmoid of x, when `node` multiplies the two and nothing else reads the Sigmoid. */
export function gatedByItself(node: Node): { readonly value: Value; readonly gate: Node } | null {
  if (node.opType !== 'Mul' || node.domain !== '') return null;
  const gate = node.inputs.find((value) => value?.producer?.opType === 'Sigmoid' && value.producer.domain === '')?.producer;
  const value = node.inputs.find((input) => input !== gate?.outputs[0]);
  if (!gate || !value || gate.inputs[0] !== value) return null;
  return gate.outputs[0]?.uses.length === 1 && gate.graph === node.graph ? { value, gate } : null;
}
