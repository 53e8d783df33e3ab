/** How large the integers of an input may be: follows them to the tables and depths they index. */
import { type Graph, intAttribute, integerValues, type Node, type Value } from '../ir/index.js';

/** Operators that hand their first input on, element for element, as far as its range is concerned. */
const passThrough: ReadonlySet<string> = new Set([
  'Cast',
  'Reshape',
  'Unsqueeze',
  'Squeeze',
  'Flatten',
  'Identity',
  'Transpose',
  'Slice',
  'Expand',
  'Concat',
  'Split',
  'Tile',
]);

/** Smallest number of rows of the tables that `input` indexes (Gather data, OneHot depth); null when it indexes none of known size. */
export function indexBound(graph: Graph, input: Value): number | null {
  let bound: number | null = null;
  const seen = new Set<Value>();
  const pending = [input];
  for (let value = pending.pop(); value; value = pending.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    for (const { node, index } of value.uses) {
      const size = indexedSize(graph, node, index);
      if (size !== null) bound = Math.min(bound ?? size, size);
      else if (passThrough.has(node.opType) && (index === 0 || node.opType === 'Concat')) {
        for (const output of node.outputs) if (output) pending.push(output);
      }
    }
  }
  return bound;
}

function constantDims(node: Node, value: Value | null, graph: Graph): readonly number[] | null {
  const owner = node.graph ?? graph;
  const tensor = owner.constant(value) ?? graph.constant(value);
  if (tensor) return tensor.dims;
  const made = value?.producer;
  /** A table stored in fewer bits: DequantizeLinear or Cast of the constant. */
  if (made && (made.opType === 'DequantizeLinear' || made.opType === 'Cast')) return constantDims(made, made.inputs[0] ?? null, graph);
  return null;
}

function indexedSize(graph: Graph, node: Node, index: number): number | null {
  if (index === 1 && (node.opType === 'Gather' || node.opType === 'GatherElements')) {
    const dims = constantDims(node, node.inputs[0] ?? null, graph);
    const axis = intAttribute(node, 'axis', 0);
    return dims?.at(axis) ?? null;
  }
  if (index === 0 && node.opType === 'OneHot') {
    const depth = graph.constant(node.inputs[1] ?? null);
    return depth ? (integerValues(depth)[0] ?? null) : null;
  }
  return null;
}
