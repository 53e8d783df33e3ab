/** Common-subexpression elimination: deterministic nodes with the same operator, attributes and inputs become one. */
import type { Attribute, Graph, Node, SparseTensor, Value, ValueType } from '../ir/index.js';
import { isDeterministic } from '../ops/index.js';
import { tensorKey } from './model-editor.js';
import type { GraphPass, PassScope } from './pass.js';

/** Gives equal keys to equal values only: a number per value object. */
class ValueNumbers {
  private readonly numbers = new Map<Value, number>();

  of(value: Value | null): string {
    if (!value) return '-';
    const known = this.numbers.get(value);
    if (known !== undefined) return String(known);
    this.numbers.set(value, this.numbers.size);
    return String(this.numbers.size - 1);
  }
}

/** Float attributes by their bits, so that -0 and NaN compare as stored. */
function floatKey(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

function sparseKey(tensor: SparseTensor): string {
  return `${tensorKey(tensor.values)}${tensorKey(tensor.indices)}[${tensor.dims.join()}]`;
}

function typeKey(type: ValueType): string {
  return JSON.stringify(type, (_, part: unknown) => (part instanceof Uint8Array ? [...part] : part));
}

/** undefined for attributes that cannot be compared: references to a calling node. */
function attributeKey(attribute: Attribute, numbers: ValueNumbers): string | undefined {
  switch (attribute.kind) {
    case 'float':
      return floatKey(attribute.value);
    case 'floats':
      return attribute.value.map(floatKey).join();
    case 'int':
      return String(attribute.value);
    case 'ints':
      return attribute.value.join();
    case 'string':
      return JSON.stringify([...attribute.value]);
    case 'strings':
      return JSON.stringify(attribute.value.map((text) => [...text]));
    case 'tensor':
      return tensorKey(attribute.value);
    case 'tensors':
      return attribute.value.map(tensorKey).join();
    case 'sparse-tensor':
      return sparseKey(attribute.value);
    case 'sparse-tensors':
      return attribute.value.map(sparseKey).join();
    case 'type':
      return typeKey(attribute.value);
    case 'types':
      return attribute.value.map(typeKey).join();
    case 'graph':
      return graphKey(attribute.value, numbers);
    case 'graphs':
      return joinKeys(attribute.value.map((graph) => graphKey(graph, numbers)));
    case 'reference':
      return undefined;
  }
}

function joinKeys(keys: readonly (string | undefined)[]): string | undefined {
  return keys.includes(undefined) ? undefined : keys.join(';');
}

/** A subgraph as a key: inner values are numbered by position, outer ones by identity. */
function graphKey(graph: Graph, numbers: ValueNumbers): string | undefined {
  const inner = new Map<Value, string>();
  const name = (value: Value): string => `i${inner.size}:${value.type ? typeKey(value.type) : ''}`;
  for (const input of graph.inputs) inner.set(input, name(input));
  const parts: (string | undefined)[] = [];
  for (const [value, tensor] of graph.initializers) {
    if (graph.isInput(value)) return undefined;
    inner.set(value, `t${tensorKey(tensor)}`);
  }
  if (graph.sparseInitializers.size > 0) return undefined;
  const operand = (value: Value | null): string => (value ? (inner.get(value) ?? `o${numbers.of(value)}`) : '-');
  for (const node of graph.nodes) {
    if (node.subgraphs.length > 0) return undefined;
    parts.push(nodeKey(node, operand, numbers));
    for (const output of node.outputs) if (output) inner.set(output, `n${inner.size}`);
  }
  return joinKeys([[...graph.inputs].map((input) => inner.get(input)).join(), ...parts, graph.outputs.map(operand).join()]);
}

function nodeKey(node: Node, operand: (value: Value | null) => string, numbers: ValueNumbers): string | undefined {
  const attributes = [...node.attributes].sort(([left], [right]) => (left < right ? -1 : 1));
  const keys = attributes.map(([name, attribute]) => {
    const key = attributeKey(attribute, numbers);
    return key === undefined ? undefined : `${name}=${attribute.kind}:${key}`;
  });
  const outputs = node.outputs.map((output) => (output ? '1' : '0')).join('');
  return joinKeys([`${node.domain}.${node.opType}`, node.inputs.map(operand).join(), outputs, ...keys]);
}

function mergeInto(kept: Node, node: Node, { editor }: Omit<PassScope, 'graph'>): boolean {
  const pairs = node.outputs.map((output, index) => [output, kept.outputs[index]] as const);
  if (pairs.some(([output, same]) => output && (!same || editor.isGraphOutput(output)))) return false;
  editor.report(node, 'removed', commonSubexpressionElimination.name, `computes the same as ${kept.name || kept.opType}`);
  for (const [output, same] of pairs) {
    if (!output || !same) continue;
    for (const { node: reader, index } of output.uses) reader.setInput(index, same);
  }
  return true;
}

function eliminate(graph: Graph, scope: Omit<PassScope, 'graph'>): boolean {
  const numbers = new ValueNumbers();
  const seen = new Map<string, Node>();
  const merged: Node[] = [];
  for (const node of graph.nodes) {
    if (!isDeterministic(node) || node.outputs.length === 0) continue;
    const key = nodeKey(node, (value) => numbers.of(value), numbers);
    if (key === undefined) continue;
    const kept = seen.get(key);
    if (!kept) seen.set(key, node);
    else if (mergeInto(kept, node, scope)) merged.push(node);
  }
  graph.remove(merged);
  return merged.length > 0;
}

export const commonSubexpressionElimination: GraphPass = { name: 'common-subexpression-elimination', run: eliminate };
