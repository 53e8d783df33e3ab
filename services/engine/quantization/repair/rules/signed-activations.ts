/** int8 activations: x64 has no fast kernel for two signed operands, and the runtime's own conversion gives up where a tensor has two readers. */
import type { Node, Value } from '../../../ir/index.js';
import { type CodeGroup, codeGroup, shiftGroup, slotsOf } from '../code-shift.js';
import type { Diagnosis, Rule } from '../finding.js';
import { integerForm } from '../integer-forms.js';
import type { QuantizedGraph } from '../quantized-graph.js';

export const signedActivations: Rule = {
  title: 'Activations quantized as int8.',
  examine(graph) {
    const seen = new Set<Value>();
    return graph.nodes.flatMap((node) =>
      signedCodes(node, graph).flatMap((value) => {
        if (seen.has(value)) return [];
        const group = codeGroup(value, graph);
        for (const member of group.values) seen.add(member);
        return diagnose(node, value, { group, graph });
      }),
    );
  },
};

/** Activation codes of int8 that `node` makes, and constant operands that must have the type of the activations beside them. */
function signedCodes(node: Node, graph: QuantizedGraph): Value[] {
  const conversion = graph.conversion(node);
  if (conversion?.node.opType === 'QuantizeLinear') {
    return conversion.codeType === 'int8' && !graph.isFoldable(conversion.input) ? [conversion.output] : [];
  }
  if (conversion) {
    const isOperand = node.outputs[0]?.uses.some((use) => isPlainOperand(use.node, use.index)) ?? false;
    return conversion.codeType === 'int8' && graph.store.constant(conversion.input) && isOperand ? [conversion.input] : [];
  }
  if (!/^QLinear|^QGemm$/.test(node.opType)) return [];
  return (slotsOf(node) ?? []).flatMap((slot) => {
    const value = (slot.side === 'input' ? node.inputs : node.outputs)[slot.index];
    const zeroPoint = graph.store.constant(slot.zeroPoint === undefined ? null : node.inputs[slot.zeroPoint]);
    const isWeight = slot.isWeight && graph.store.constant(value);
    return value && !isWeight && zeroPoint?.tensor.dataType === 'int8' ? [value] : [];
  });
}

function readersOf(value: Value | null, graph: QuantizedGraph): number {
  return value ? value.uses.length + (graph.store.isGraphOutput(value) ? 1 : 0) : 0;
}

function isPlainOperand(node: Node, index: number): boolean {
  const form = integerForm(node);
  if (!form || form.weight === index || form.bias === index || form.moves) return false;
  return form.operands === 'all' || form.operands.includes(index);
}

function diagnose(node: Node, value: Value, { group, graph }: { group: CodeGroup; graph: QuantizedGraph }): Diagnosis[] {
  const readers = group.places
    .filter(({ node: reader, slot }) => slot.side === 'input' && reader.opType === 'DequantizeLinear')
    .reduce((sum, { node: reader }) => sum + readersOf(reader.outputs[0] ?? null, graph), 0);
  const finding = {
    node,
    effect: readers > 1 ? 'float' : 'slow',
    sentence:
      readers > 1
        ? `"${value.name}" is int8 and has ${readers} readers: on x64 the runtime turns int8 activations into uint8 only where they have one, so that what makes and what reads this one stays in float.`
        : `"${value.name}" is int8: x64 has fast kernels for uint8 activations only; the runtime converts this one when it loads the model, older ones and QOperator files run reference kernels.`,
  } as const;
  if (group.obstacle) {
    const instead = `Cannot be made uint8: ${group.obstacle}. Quantize again with uint8 activations.`;
    return [{ ...finding, repairable: 'no', instead }];
  }
  const instead = `Codes + 128 with zero point + 128: the same real values as uint8${group.values.size > 1 ? `, through ${group.values.size} tensors` : ''}.`;
  const apply = () => {
    shiftGroup(group, graph);
    return [];
  };
  return [{ ...finding, repairable: 'exact', instead, repair: { proof: 'equal', apply } }];
}
