/** What a model is: interface, operators, weights, quantization. Reads no weights. */
import { allGraphs, type DataType, type Dimension, elementCount, type Model, type Node, type Value, type ValueType } from '../ir/index.js';
import { distinctTensors, isKnownDomain, operatorTraits, parameterCount } from '../ops/index.js';
import { type QuantizationState, quantizationState } from './quantization-state.js';

export interface ValueDescription {
  readonly name: string;
  /** 'tensor', 'sparse-tensor', 'sequence', 'optional', 'map', 'opaque', or 'unknown' when the model does not say. */
  readonly kind: ValueType['kind'] | 'unknown';
  /** null when the model does not say. */
  readonly data_type: DataType | null;
  /** Sizes; a name for a symbolic size, null for an unknown one. null as a whole when even the rank is unknown. */
  readonly shape: readonly Dimension[] | null;
}

export interface WeightSummary {
  readonly tensors: number;
  readonly elements: number;
  readonly bytes: number;
}

/** JSON-ready; field names are those of the API. Lists hold at most 1,000 entries, names at most 1,000 characters. */
export interface ModelInspection {
  readonly ir_version: number;
  /** Version of the ONNX operator set; 0 when the model imports none. */
  readonly opset: number;
  /** Operator set version by domain; the ONNX domain is 'ai.onnx'. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly producer: { readonly name: string; readonly version: string };
  /** What a caller must feed; initializers that are also inputs are not listed. */
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
  /** Nodes of the main graph, its subgraphs and function bodies. */
  readonly nodes: number;
  /** Branches and bodies of If, Loop and Scan. */
  readonly subgraphs: number;
  /** Nodes by operator, most frequent first; 'domain::Operator' outside the ONNX domain. */
  readonly operators: Readonly<Record<string, number>>;
  /** Elements of weights: constants of all types but int64, bool and string, which hold shapes, indices and text. */
  readonly parameters: number;
  readonly weight_bytes: number;
  readonly weights: Readonly<Partial<Record<DataType, WeightSummary>>>;
  readonly quantization: QuantizationState;
  /** Files beside the model that hold weights. */
  readonly external_data: readonly string[];
  /** Functions the model brings along, as 'domain::name'. */
  readonly functions: readonly string[];
  /** Domains that are neither ONNX's nor onnxruntime's nor those of the model's own functions. */
  readonly unknown_domains: readonly string[];
  /** Operators the engine has never heard of, as in `operators`; the runtime will most likely refuse them. */
  readonly unknown_operators: readonly string[];
}

/** Describes `model`; `externalData` are the files its weights came from, which the IR does not tell. */
export function inspectModel(model: Model, externalData: readonly string[] = []): ModelInspection {
  const graphs = [...allGraphs(model)];
  const nodes = graphs.flatMap((graph) => graph.nodes);
  const weights = weightSummaries(model);
  const inspected = Object.values(weights);
  const functions = new Set(model.functions.map(({ domain, name }) => operatorName(domain, name)));
  const functionDomains = new Set(model.functions.map(({ domain }) => domain));
  const unknown = nodes.filter(({ domain, opType }) => !operatorTraits(domain, opType) && !functions.has(operatorName(domain, opType)));
  return {
    ir_version: model.irVersion,
    opset: model.opset,
    opsets: Object.fromEntries(listed([...model.opsetImports]).map(([domain, version]) => [clipped(domain) || 'ai.onnx', version])),
    producer: { name: clipped(model.producerName), version: clipped(model.producerVersion) },
    inputs: listed(model.graph.inputs.filter((value) => !model.graph.initializers.has(value))).map(describeValue),
    outputs: listed(model.graph.outputs).map(describeValue),
    nodes: nodes.length,
    subgraphs: graphs.length - 1 - model.functions.length,
    operators: histogram(nodes),
    parameters: parameterCount(model),
    weight_bytes: inspected.reduce((sum, { bytes }) => sum + bytes, 0),
    weights,
    quantization: quantizationState(model),
    external_data: listed(externalData),
    functions: listed([...functions]),
    unknown_domains: listed([...new Set(unknown.map(({ domain }) => clipped(domain)))]).filter(
      (domain) => !isKnownDomain(domain) && !functionDomains.has(domain),
    ),
    unknown_operators: listed([...new Set(unknown.map(({ domain, opType }) => operatorName(domain, opType)))]),
  };
}

/** A hostile model may have a million inputs, or a name of a gigabyte; its description stays small. */
const listedMax = 1000;

function listed<T>(entries: readonly T[]): readonly T[] {
  return entries.slice(0, listedMax);
}

function clipped(name: string): string {
  return name.slice(0, listedMax);
}

function operatorName(domain: string, opType: string): string {
  return clipped(domain === '' ? opType : `${domain}::${opType}`);
}

function describeValue({ name: fullName, type }: Value): ValueDescription {
  const name = clipped(fullName);
  if (type?.kind !== 'tensor' && type?.kind !== 'sparse-tensor') {
    return { name, kind: type?.kind ?? 'unknown', data_type: null, shape: null };
  }
  const shape = type.shape && listed(type.shape).map((size) => (typeof size === 'string' ? clipped(size) : size));
  return { name, kind: type.kind, data_type: type.dataType, shape };
}

function histogram(nodes: readonly Node[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { domain, opType } of nodes) {
    const name = operatorName(domain, opType);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return Object.fromEntries(listed([...counts].sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1))));
}

function weightSummaries(model: Model): Partial<Record<DataType, WeightSummary>> {
  const summaries: Partial<Record<DataType, WeightSummary>> = {};
  for (const { dataType, dims, data, strings } of distinctTensors(model)) {
    const { tensors, elements, bytes } = summaries[dataType] ?? { tensors: 0, elements: 0, bytes: 0 };
    const textBytes = strings?.reduce((sum, text) => sum + text.byteLength, 0) ?? 0;
    summaries[dataType] = { tensors: tensors + 1, elements: elements + elementCount(dims), bytes: bytes + data.byteLength + textBytes };
  }
  return summaries;
}
