/** Reading and making node attributes: typed getters with the operator's default, constructors without ceremony. */
import type { Attribute, Graph, Node } from './graph.js';
import type { Tensor } from './tensor.js';

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** int64 to number, clamped to the safe range: ONNX uses 2^63 - 1 for "to the end". */
export function clampToSafe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) return Number.MAX_SAFE_INTEGER;
  if (value < BigInt(Number.MIN_SAFE_INTEGER)) return Number.MIN_SAFE_INTEGER;
  return Number(value);
}

function wrongKind(node: Node, name: string, attribute: Attribute, expected: string): TypeError {
  return new TypeError(`${node.opType} ${node.name}: attribute ${name} is ${attribute.kind}, expected ${expected}`);
}

/** The integer attribute `name`, or `fallback` when it is absent. Throws TypeError when it has another kind. */
export function intAttribute<T extends number | undefined>(node: Node, name: string, fallback: T): number | T {
  const attribute = node.attributes.get(name);
  if (!attribute) return fallback;
  if (attribute.kind !== 'int') throw wrongKind(node, name, attribute, 'int');
  return clampToSafe(attribute.value);
}

export function intsAttribute<T extends readonly number[] | undefined>(node: Node, name: string, fallback: T): readonly number[] | T {
  const attribute = node.attributes.get(name);
  if (!attribute) return fallback;
  if (attribute.kind !== 'ints') throw wrongKind(node, name, attribute, 'ints');
  return attribute.value.map(clampToSafe);
}

export function floatAttribute<T extends number | undefined>(node: Node, name: string, fallback: T): number | T {
  const attribute = node.attributes.get(name);
  if (!attribute) return fallback;
  if (attribute.kind !== 'float') throw wrongKind(node, name, attribute, 'float');
  return attribute.value;
}

export function stringAttribute<T extends string | undefined>(node: Node, name: string, fallback: T): string | T {
  const attribute = node.attributes.get(name);
  if (!attribute) return fallback;
  if (attribute.kind !== 'string') throw wrongKind(node, name, attribute, 'string');
  return decoder.decode(attribute.value);
}

export function graphAttribute(node: Node, name: string): Graph | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'graph' ? attribute.value : undefined;
}

export const attributeOf = {
  int: (value: number | bigint): Attribute => ({ kind: 'int', value: BigInt(value) }),
  ints: (values: readonly (number | bigint)[]): Attribute => ({ kind: 'ints', value: values.map(BigInt) }),
  float: (value: number): Attribute => ({ kind: 'float', value }),
  floats: (value: readonly number[]): Attribute => ({ kind: 'floats', value }),
  string: (text: string): Attribute => ({ kind: 'string', value: encoder.encode(text) }),
  tensor: (value: Tensor): Attribute => ({ kind: 'tensor', value }),
  graph: (value: Graph): Attribute => ({ kind: 'graph', value }),
} as const;
