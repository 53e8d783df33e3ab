/** Sizes that a node reads as an integer vector: which are constants that can be edited, and which follow another value by themselves. */
import { intAttribute, integerValues, type Node, type Tensor, type Value } from '../../ir/index.js';
import type { ModelFacts } from '../../passes/model-facts.js';
import { clampSlice, sliceOperands } from '../../passes/operand-forms.js';
import { normalizeAxis } from '../../passes/value-facts.js';

/** One element of the vector. */
export type SizeToken =
  | { readonly kind: 'constant'; readonly size: number }
  /** The size of an axis of a value, whatever it is when the model runs. */
  | { readonly kind: 'axis'; readonly value: Value; readonly axis: number };

export interface SizeView {
  /** The tensor of a stored constant, which can be edited. */
  constant(value: Value | null | undefined): Tensor | undefined;
  rank(value: Value): number | undefined;
  readonly facts: ModelFacts;
}

/** Operators that hand integers on as they are. */
const carrying: ReadonlySet<string> = new Set(['Cast', 'Identity', 'Squeeze', 'Unsqueeze', 'Reshape']);
const picking: ReadonlySet<string> = new Set(['Gather', 'Slice']);

/** The tokens of an integer vector (or scalar); null when some element is computed otherwise. */
export function sizeTokens(value: Value | null | undefined, view: SizeView): SizeToken[] | null {
  const tensor = view.constant(value);
  if (tensor) return isInteger(tensor) ? integerValues(tensor).map((size) => ({ kind: 'constant', size })) : null;
  const node = value?.producer;
  if (node?.domain !== '') return null;
  if (node.opType === 'Shape') return shapeTokens(node, view);
  if (carrying.has(node.opType)) return sizeTokens(node.inputs[0], view);
  if (node.opType === 'Concat') {
    const parts = node.inputs.map((input) => sizeTokens(input, view));
    return parts.every((part) => part !== null) ? parts.flat() : null;
  }
  return picking.has(node.opType) ? pickedTokens(node, view) : null;
}

function isInteger({ dataType }: Tensor): boolean {
  return dataType === 'int64' || dataType === 'int32';
}

function shapeTokens(node: Node, view: SizeView): SizeToken[] | null {
  const [value] = node.inputs;
  const rank = value ? view.rank(value) : undefined;
  if (!value || rank === undefined) return null;
  const clamp = (at: number): number => Math.min(Math.max(normalizeAxis(at, rank), 0), rank);
  const all = Array.from({ length: rank }, (_, axis): SizeToken => ({ kind: 'axis', value, axis }));
  return all.slice(clamp(intAttribute(node, 'start', 0)), clamp(intAttribute(node, 'end', rank)));
}

function pickedTokens(node: Node, view: SizeView): SizeToken[] | null {
  const tokens = sizeTokens(node.inputs[0], view);
  if (!tokens) return null;
  if (node.opType === 'Gather') {
    const indices = view.facts.integers(node.inputs[1]);
    return indices ? indices.flatMap((at) => tokens[normalizeAxis(at, tokens.length)] ?? []) : null;
  }
  const [slice, ...more] = sliceOperands(node, view.facts) ?? [];
  if (!slice || more.length > 0) return null;
  const { start, count } = clampSlice(slice, tokens.length);
  return Array.from({ length: count }, (_, at) => tokens[start + at * slice.step]).filter((token) => token !== undefined);
}

/** Where an integer vector goes on unchanged, in whole or in part, and the readings that use it. */
export function sizeReaders(value: Value): { carriers: Value[]; readings: { node: Node; index: number }[] } {
  const carriers: Value[] = [];
  const readings: { node: Node; index: number }[] = [];
  for (const use of value.uses) {
    const { opType, domain, outputs } = use.node;
    const isData = opType === 'Concat' || (use.index === 0 && (carrying.has(opType) || picking.has(opType)));
    if (domain === '' && isData && outputs[0]) carriers.push(outputs[0]);
    else readings.push(use);
  }
  return { carriers, readings };
}
