/** What follows a layer: sums at whose end its error can be seen, and activations that hide a part of it. */
import { float32Values, floatAttribute, type Graph, type Node, type Value } from '../../ir/index.js';
import type { WeightStore } from '../../layers/weight-store.js';

/** The value and the results of the Adds behind it, each of which is all that reads the one before. */
export function sumsBehind(output: Value, graph: Graph): { readonly sum: Value; readonly other: Value | null }[] {
  const sums: { sum: Value; other: Value | null }[] = [{ sum: output, other: null }];
  for (let sum = output; !graph.isOutput(sum); ) {
    const [use, ...others] = sum.uses;
    const [result] = use?.node.outputs ?? [];
    if (!use || !result || others.length > 0 || use.node.opType !== 'Add' || use.node.domain !== '' || use.node.graph !== graph) break;
    sums.push({ sum: result, other: use.node.inputs[1 - use.index] ?? null });
    sum = result;
  }
  return sums;
}

/** Below `low` and above `high` an activation is flat: errors there are not seen. */
export interface VisibleRange {
  readonly low: number;
  readonly high: number;
}

/** The range that all readers of a value see of it; null when some see all of it. */
export function visibleRange(value: Value, graph: Graph, store: WeightStore): VisibleRange | null {
  if (graph.isOutput(value) || !value.isRead) return null;
  const ranges = value.consumers.map((reader) => rangeOf(reader, store));
  const [first] = ranges;
  return first && ranges.every((range) => range?.low === first.low && range.high === first.high) ? first : null;
}

function rangeOf(node: Node, store: WeightStore): VisibleRange | null {
  if (node.domain !== '') return null;
  if (node.opType === 'Relu') return { low: 0, high: Number.POSITIVE_INFINITY };
  // x * max(0, min(1, x / 6 + 1 / 2)): 0 below -3.
  if (node.opType === 'HardSwish') return { low: -3, high: Number.POSITIVE_INFINITY };
  if (node.opType !== 'Clip') return null;
  const bound = (index: number, name: string, open: number): number | undefined => {
    const input = node.inputs[index];
    if (!input) return floatAttribute(node, name, open);
    const constant = store.constant(input);
    return constant?.tensor.dataType === 'float32' ? float32Values(constant.tensor)[0] : undefined;
  };
  const [low, high] = [bound(1, 'min', Number.NEGATIVE_INFINITY), bound(2, 'max', Number.POSITIVE_INFINITY)];
  return low !== undefined && high !== undefined && low < high ? { low, high } : null;
}
