/** GraphProto to IR: names become values, with subgraphs seeing the graphs around them. */
import { EngineError } from '../engine-errors.js';
import { type Attribute, CycleError, Graph, Node, type SparseTensor, sortTopologically, type Tensor, Value } from '../ir/index.js';
import { decodeAttribute } from './decode-attribute.js';
import { type DecodeContext, locate, Scope } from './decode-context.js';
import { type GraphRecord, type NodeRecord, readGraphRecord, type ValueRecord } from './graph-record.js';
import type { MessageReader } from './message-reader.js';

/** Throws EngineError; MalformedMessage where the place is not known yet. */
export function decodeGraph(reader: MessageReader, context: DecodeContext, outer: Scope | null): Graph {
  return buildGraph(readGraphRecord(reader, context), context, outer);
}

/** `record` with its names resolved. Function bodies come as records too, without an outer scope. */
export function buildGraph(record: GraphRecord, context: DecodeContext, outer: Scope | null): Graph {
  const graph = new Graph(record.name);
  graph.docString = record.docString;
  graph.metadata = record.metadata.size > 0 ? record.metadata : undefined;
  graph.unknownFields = record.unknown.member.unknownFields;
  for (const annotation of record.annotations) graph.quantizationAnnotations.push(annotation);
  const scope = new Scope(record.name, outer);
  for (const input of record.inputs) graph.inputs.push(scope.declare(newValue(input), 'input'));
  const inputs = new Set(graph.inputs);
  for (const tensor of record.initializers) addInitializer(graph, tensor, { scope, inputs });
  for (const sparse of record.sparseInitializers) addSparseInitializer(graph, scope, sparse);
  const outputsOfNodes = record.nodes.map((node) =>
    node.outputs.map((name) => (name === '' ? null : scope.declare(new Value(name), 'output of a node'))),
  );
  for (const fact of record.facts) describe(scope.own(fact.name), fact);
  for (const output of record.outputs) graph.outputs.push(graphOutput(scope, output));
  record.nodes.forEach((node, index) => {
    graph.append(buildNode(node, outputsOfNodes[index] ?? [], { context, scope, where: placeOf(node, index) }));
  });
  sort(graph);
  return graph;
}

function newValue({ name, type, docString, metadata, unknownFields }: ValueRecord): Value {
  const value = new Value(name, type, docString, metadata);
  value.unknownFields = unknownFields;
  return value;
}

/** Takes over what the file says about a value that exists. Facts about names that nothing defines are dropped: they describe no value. */
function describe(value: Value | undefined, { type, docString, metadata, unknownFields }: ValueRecord): void {
  if (!value) return;
  value.type ??= type;
  value.docString ??= docString;
  value.metadata ??= metadata;
  value.unknownFields ??= unknownFields;
}

function addInitializer(graph: Graph, tensor: Tensor, { scope, inputs }: { scope: Scope; inputs: ReadonlySet<Value> }): void {
  const { name = '', ...constant } = tensor;
  const input = scope.own(name);
  // Until IR version 3 each initializer is a graph input too; since then that means "the caller may override it".
  const value = input && inputs.has(input) && !graph.initializers.has(input) ? input : scope.declare(new Value(name), 'initializer');
  value.type ??= { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
  graph.initializers.set(value, constant);
}

function addSparseInitializer(graph: Graph, scope: Scope, sparse: SparseTensor): void {
  const value = scope.declare(new Value(sparse.values.name ?? ''), 'sparse initializer');
  value.type = { kind: 'tensor', dataType: sparse.values.dataType, shape: sparse.dims };
  graph.sparseInitializers.set(value, sparse);
}

function graphOutput(scope: Scope, record: ValueRecord): Value {
  const value = scope.find(record.name);
  if (!value) throw new EngineError('model_invalid', `output '${record.name}' of graph '${scope.graphName}' is made by no node.`);
  describe(value, record);
  return value;
}

interface NodePlace {
  readonly context: DecodeContext;
  readonly scope: Scope;
  readonly where: string;
}

function placeOf(node: NodeRecord, index: number): string {
  return node.name === '' ? `node ${index} (${node.opType})` : `node '${node.name}' (${node.opType})`;
}

function buildNode(record: NodeRecord, outputs: readonly (Value | null)[], { context, scope, where }: NodePlace): Node {
  if (record.opType === '') throw new EngineError('model_invalid', `${where} of graph '${scope.graphName}' has no operator type.`);
  const attributes = new Map<string, Attribute>();
  for (const reader of record.attributes) {
    const [name, attribute] = locate(where, () => decodeAttribute(reader, { context, scope, where }));
    if (attributes.has(name)) throw new EngineError('model_invalid', `${where}: attribute '${name}' stands twice.`);
    attributes.set(name, attribute);
  }
  const inputs = record.inputs.map((name) => {
    if (name === '') return null;
    const value = scope.find(name);
    if (value) return value;
    throw new EngineError('model_invalid', `${where} reads '${name}', which nothing in graph '${scope.graphName}' or around it makes.`);
  });
  const { name, opType, domain, overload, docString, metadata } = record;
  return new Node({
    ...{ name, opType, domain, overload, inputs, outputs, attributes },
    ...(docString === undefined ? {} : { docString }),
    ...(metadata.size === 0 ? {} : { metadata }),
    ...record.unknown.member,
  });
}

function sort(graph: Graph): void {
  try {
    sortTopologically(graph);
  } catch (error) {
    if (error instanceof CycleError)
      throw new EngineError('model_invalid', `Graph '${graph.name}' has a cycle: ${error.message}.`, {}, { cause: error });
    throw error;
  }
}
