/** How far a tensor's values matter to what reads it: below some point Sigmoid, and with it SiLU, gives nothing any more. */
import type { Graph, Node, Value } from '../../ir/index.js';

export interface Bounds {
  readonly low: number;
  readonly high: number;
}

export const unbounded: Bounds = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };

/** sigmoid(-8) = 0.0003 and 8 sigmoid(-8) = 0.003: a code spent beyond -8 says less than one spent within. */
const SIGMOID_END = 8;

/** Bounds outside of which all readers of `value` saturate; unbounded for a graph output and for any other reader. */
export function readersBounds(value: Value, graph: Graph): Bounds {
  const readers = value.consumers;
  if (graph.isOutput(value) || readers.length === 0) return unbounded;
  if (readers.every(isSigmoid)) return { low: -SIGMOID_END, high: SIGMOID_END };
  return isSilu(value, readers) ? { low: -SIGMOID_END, high: Number.POSITIVE_INFINITY } : unbounded;
}

function isSigmoid({ opType, domain }: Node): boolean {
  return opType === 'Sigmoid' && domain === '';
}

/** x sigmoid(x): one Sigmoid of x, and its product with x, which alone reads it. */
function isSilu(value: Value, readers: readonly Node[]): boolean {
  const [first, second, another] = readers;
  if (!first || !second || another) return false;
  const [sigmoid, product] = isSigmoid(first) ? [first, second] : [second, first];
  const gate = sigmoid.outputs[0];
  if (!isSigmoid(sigmoid) || product.opType !== 'Mul' || product.domain !== '' || !gate) return false;
  return product.inputs.includes(value) && product.inputs.includes(gate) && gate.uses.length === 1;
}
