/** Tensors that need not be observed, because what they show follows from what other tensors show. */
import { type Graph, intsAttribute, type Node } from '../ir/index.js';
import type { Extremes, ObservedTensor } from './observed-run.js';

export interface DerivedTensor {
  readonly sources: readonly string[];
  /** From the extremes of the sources; absent: the same values as those of the one source, in another arrangement. */
  readonly extremes?: (sources: readonly Extremes[]) => Extremes;
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

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value));

/** Never falling: extremes go to extremes. */
const monotone: ReadonlyMap<string, (value: number) => number> = new Map([
  ['Relu', (value: number) => Math.max(0, value)],
  ['Sigmoid', sigmoid],
  ['Tanh', Math.tanh],
]);

/** Where x sigmoid(x) is least, and how much that is. */
const SILU_LOWEST = { at: -1.278464542761074, value: -0.2784645427610738 };

/**
 * Those of `names` that follow from others of them, sources before what follows from them. With `extremesOnly` also where only
 * the extremes follow. They are exact but for the minimum of SiLU, which may be lower than any value seen, by less than its depth.
 */
export function derivedTensors(
  graph: Graph,
  names: ReadonlySet<string>,
  { extremesOnly }: { readonly extremesOnly: boolean },
): Map<string, DerivedTensor> {
  const derived = new Map<string, DerivedTensor>();
  for (const node of graph.nodes) {
    const name = node.outputs[0]?.name ?? '';
    if (node.domain !== '' || !names.has(name)) continue;
    const from = rearranged(node) ?? (extremesOnly ? withKnownExtremes(node) : undefined);
    if (from?.sources.every((source) => names.has(source))) derived.set(name, from);
  }
  return derived;
}

function rearranged({ opType, inputs }: Node): DerivedTensor | undefined {
  return rearranging.has(opType) ? { sources: [inputs[0]?.name ?? ''] } : undefined;
}

function withKnownExtremes(node: Node): DerivedTensor | undefined {
  const { opType, inputs } = node;
  const apply = monotone.get(opType);
  if (apply) return { sources: [inputs[0]?.name ?? ''], extremes: (of) => mapped(of, apply) };
  if (opType === 'Concat') return { sources: inputs.map((value) => value?.name ?? ''), extremes: union };
  const gated = opType === 'Mul' ? siluOf(node) : undefined;
  return gated === undefined ? undefined : { sources: [gated], extremes: ([source = NOTHING]) => siluExtremes(source) };
}

const NOTHING: Extremes = { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY };

function mapped([source = NOTHING]: readonly Extremes[], apply: (value: number) => number): Extremes {
  return { min: apply(source.min), max: apply(source.max) };
}

function union(sources: readonly Extremes[]): Extremes {
  return { min: Math.min(...sources.map(({ min }) => min)), max: Math.max(...sources.map(({ max }) => max)) };
}

/** The name of x when `node` is x * Sigmoid(x). */
function siluOf({ inputs }: Node): string | undefined {
  const gate = inputs.find((value) => value?.producer?.opType === 'Sigmoid' && value.producer.domain === '');
  const gated = inputs.find((value) => value !== gate);
  return gated && gate?.producer?.inputs[0] === gated ? gated.name : undefined;
}

/** Falling up to SILU_LOWEST.at, rising from there on. */
function siluExtremes({ min, max }: Extremes): Extremes {
  const [first, last] = [min * sigmoid(min), max * sigmoid(max)];
  const hasLowest = min <= SILU_LOWEST.at && max >= SILU_LOWEST.at;
  return { min: hasLowest ? SILU_LOWEST.value : Math.min(first, last), max: Math.max(first, last) };
}

/** What the derived tensor shows in a run that showed `sources` of its sources. */
export function deriveTensor({ extremes }: DerivedTensor, sources: readonly ObservedTensor[]): Omit<ObservedTensor, 'dims'> | undefined {
  const [first] = sources;
  if (!first) return undefined;
  const { channels: _channels, dims: _dims, ...seen } = first;
  if (!extremes) return seen;
  const { min, max } = extremes(sources);
  const sum = (of: (source: ObservedTensor) => number): number => sources.reduce((total, source) => total + of(source), 0);
  return { min: Math.fround(min), max: Math.fround(max), count: sum(({ count }) => count), nonFinite: sum(({ nonFinite }) => nonFinite) };
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
