/** Tensors that need not be observed, because what they show follows from what another tensor shows. */
import { type Graph, intsAttribute, type Node } from '../ir/index.js';
import type { ObservedTensor } from './observed-run.js';

export interface DerivedTensor {
  readonly source: string;
  /** Absent: the same values in another arrangement. */
  readonly monotone?: (value: number) => number;
}

/** The same values with other dims. */
const rearranging: ReadonlySet<string> = new Set([
  'Identity',
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'DepthToSpace',
  'SpaceToDepth',
]);

/** Never falling: extremes go to extremes. */
const monotone: ReadonlyMap<string, (value: number) => number> = new Map([
  ['Relu', (value: number) => Math.max(0, value)],
  ['Sigmoid', (value: number) => 1 / (1 + Math.exp(-value))],
  ['Tanh', Math.tanh],
]);

/**
 * Those of `names` that follow from others of them, sources before what follows from them. With `extremesOnly` also where only
 * the extremes follow.
 */
export function derivedTensors(
  graph: Graph,
  names: ReadonlySet<string>,
  { extremesOnly }: { readonly extremesOnly: boolean },
): Map<string, DerivedTensor> {
  const derived = new Map<string, DerivedTensor>();
  for (const node of graph.nodes) {
    const [source, name] = [node.inputs[0]?.name ?? '', node.outputs[0]?.name ?? ''];
    if (node.domain !== '' || !names.has(source) || !names.has(name)) continue;
    const apply = extremesOnly ? monotone.get(node.opType) : undefined;
    if (rearranging.has(node.opType)) derived.set(name, { source });
    else if (apply) derived.set(name, { source, monotone: apply });
  }
  return derived;
}

/** What the derived tensor shows in a run that showed `source` of its source. */
export function deriveTensor({ monotone: apply }: DerivedTensor, source: ObservedTensor): Omit<ObservedTensor, 'dims'> {
  const { channels: _channels, dims: _dims, ...seen } = source;
  if (!apply) return seen;
  const { mean: _mean, power: _power, values: _values, ...counts } = seen;
  return { ...counts, min: Math.fround(apply(source.min)), max: Math.fround(apply(source.max)) };
}

/** A NaN in an input is a NaN in the output. Kernels that compare, as those of activations do, may lose it. */
const passesNaN: ReadonlySet<string> = new Set([...rearranging, 'Add', 'Sub', 'Mul', 'Div', 'Concat', 'MatMul', 'Gemm']);

/**
 * Those of `names` whose means tell whether any of `names` holds a NaN: where no observed tensor further on would show it, too.
 * Infinite values need no means: they are extremes.
 */
export function guardTensors(graph: Graph, names: ReadonlySet<string>): Set<string> {
  /** Values whose NaNs reach an observed tensor. */
  const shown = new Set<string>();
  for (const node of graph.nodes.toReversed()) {
    const isShown = node.outputs.some((output) => output !== null && (names.has(output.name) || shown.has(output.name)));
    if (isShown && passes(node)) for (const input of node.inputs) if (input) shown.add(input.name);
  }
  return new Set([...names].filter((name) => !shown.has(name)));
}

function passes(node: Node): boolean {
  if (node.domain !== '') return false;
  /** With a stride, windows may step over values. */
  if (node.opType === 'Conv') return ['strides', 'dilations'].every((name) => intsAttribute(node, name, []).every((size) => size === 1));
  return passesNaN.has(node.opType);
}
