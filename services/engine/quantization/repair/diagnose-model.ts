/** All findings of a model, rule by rule, without running it. */
import type { Model, Node } from '../../ir/index.js';
import { reportName } from '../weight-store.js';
import { type Diagnosis, type Finding, type FindingKind, findingKinds } from './finding.js';
import { QuantizedGraph } from './quantized-graph.js';
import { rules } from './rules.js';

export function diagnoseModel(model: Model): Finding[] {
  const graph = new QuantizedGraph(model);
  return findingKinds.flatMap((kind) => rules[kind].examine(graph).map((diagnosis) => findingOf(kind, diagnosis, graph)));
}

function findingOf(kind: FindingKind, diagnosis: Diagnosis, graph: QuantizedGraph): Finding {
  const { node, effect, sentence, repairable, instead } = diagnosis;
  const affects = [...new Set(affected(node, graph).map(reportName))];
  return { kind, node: reportName(node), op_type: node.opType, affects, effect, sentence, repairable, instead };
}

/** Operators that the runtime absorbs: what is behind them, or before them, suffers. */
const passedOver: ReadonlySet<string> = new Set(['QuantizeLinear', 'DequantizeLinear', 'Relu', 'Clip']);

/** The computing nodes around a conversion, or behind a transposition of weights; otherwise the node itself. */
function affected(node: Node, graph: QuantizedGraph): Node[] {
  if (node.opType === 'Transpose') return [node, ...(node.outputs[0]?.consumers ?? [])];
  if (!graph.conversion(node)) return [node];
  return [...ahead(node), ...(node.opType === 'QuantizeLinear' ? before(node) : [])];
}

function ahead(node: Node): Node[] {
  return (node.outputs[0]?.consumers ?? []).flatMap((reader) => (reader.opType === 'DequantizeLinear' ? ahead(reader) : [reader]));
}

function before(node: Node): Node[] {
  const producer = node.inputs[0]?.producer;
  if (!producer) return [];
  return passedOver.has(producer.opType) ? before(producer) : [producer];
}
