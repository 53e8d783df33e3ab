/** All findings of a model, rule by rule, without running it. */
import type { Model, Node } from '../../ir/index.js';
import { reportName } from '../../layers/weight-store.js';
import { type Diagnosis, type Finding, type FindingKind, findingKinds } from './finding.js';
import { integerForm } from './integer-forms.js';
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

/** The computing nodes around a conversion, behind a mover whose codes change, or behind a transposition of weights; otherwise the node itself. */
function affected(node: Node, graph: QuantizedGraph): Node[] {
  if (integerForm(node)?.moves) return [node, ...ahead(node, new Set(['QuantizeLinear', 'DequantizeLinear']))];
  if (!graph.conversion(node)) return [node];
  const readers = ahead(node, new Set(['DequantizeLinear']));
  return [...readers, ...(node.opType === 'QuantizeLinear' ? before(node) : [])];
}

/** Readers of what `node` makes; beyond conversions of the given kinds and operators that move values. */
function ahead(node: Node, conversions: ReadonlySet<string>): Node[] {
  return node.outputs.flatMap((output) =>
    (output?.consumers ?? []).flatMap((reader) => {
      if (conversions.has(reader.opType)) return ahead(reader, conversions);
      return integerForm(reader)?.moves ? [reader, ...ahead(reader, conversions)] : [reader];
    }),
  );
}

function before(node: Node): Node[] {
  const producer = node.inputs[0]?.producer;
  if (!producer) return [];
  return passedOver.has(producer.opType) ? before(producer) : [producer];
}
