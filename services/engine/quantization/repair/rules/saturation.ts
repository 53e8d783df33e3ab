/** Products whose pair sums leave int16 on x64 without VNNI: the answer depends on the processor (onnxruntime.md 1.6b). */
import type { Node, Value } from '../../../ir/index.js';
import { reportName } from '../../../layers/weight-store.js';
import { saturationReport } from '../../saturation-report.js';
import { codeGroup, shiftGroup, slotsOf } from '../code-shift.js';
import type { Diagnosis, Rule } from '../finding.js';
import { integerForm } from '../integer-forms.js';
import type { QuantizedGraph } from '../quantized-graph.js';

export const saturation: Rule = {
  title: 'Weights with which pairs of products can saturate on x64 without VNNI.',
  examine(graph) {
    const bounds = new Map(
      saturationReport(graph.model)
        .products.filter(({ saturates }) => saturates)
        .map((each) => [each.node, each.pair_bound]),
    );
    if (bounds.size === 0) return [];
    return graph.nodes.flatMap((node) => {
      const bound = bounds.get(reportName(node));
      return bound === undefined ? [] : [diagnose(node, bound, graph)];
    });
  },
};

function diagnose(node: Node, bound: number, graph: QuantizedGraph): Diagnosis {
  const base = {
    node,
    effect: 'numbers',
    sentence: `Two neighbouring products can sum to ${bound}, beyond the 32,767 that x64 processors without VNNI hold: they saturate there, and the answer differs from other processors.`,
  } as const;
  const codes = weightCodes(node, graph);
  const group = codes && codeGroup(codes, graph);
  if (!group || group.obstacle) {
    return { ...base, repairable: 'no', instead: 'Quantize again with pair-safe scales (static-int8, target x64).' };
  }
  const apply = () => {
    if (graph.codeType(weightCodes(node, graph)) === 'int8') shiftGroup(codeGroup(weightCodes(node, graph) ?? codes, graph), graph);
    return [];
  };
  return {
    ...base,
    repairable: 'on-request',
    instead:
      'Quantize again with pair-safe scales (static-int8, target x64): no time is lost. Asked for by its kind, the weights become uint8 (code + 128, zero point 128): exact on every processor, with a slower kernel.',
    repair: { proof: 'equal', apply },
  };
}

/** The constant int8 codes that `node` multiplies with. */
function weightCodes(node: Node, graph: QuantizedGraph): Value | undefined {
  const weight = integerForm(node)?.weight;
  if (weight !== undefined) return graph.dequantizedConstant(node.inputs[weight])?.input;
  const slot = slotsOf(node)?.find((each) => each.isWeight);
  const value = slot && node.inputs[slot.index];
  return value && graph.store.constant(value) ? value : undefined;
}
