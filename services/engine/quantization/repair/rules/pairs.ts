/** DequantizeLinear and QuantizeLinear that cost more than they give: around float operators, or one pair right behind another. */
import { type Node, stringAttribute, tensorOf, type Value } from '../../../ir/index.js';
import { codeRangeOf } from '../code-range.js';
import type { Diagnosis, Rule } from '../finding.js';
import { integerForm } from '../integer-forms.js';
import { type Conversion, type QuantizedGraph, sameParameters } from '../quantized-graph.js';

interface Island {
  readonly node: Node;
  readonly before: Conversion;
  readonly behind: Conversion;
}

/** Operators without an integer form between a dequantized activation and QuantizeLinear. */
function islands(graph: QuantizedGraph): Island[] {
  return graph.nodes.flatMap((node) => {
    if (integerForm(node) || graph.conversion(node) || node.subgraphs.length > 0) return [];
    const before = node.inputs.map((value) => graph.dequantizedActivation(value)).find((each) => each !== undefined);
    const reader = graph.soleUse(node.outputs[0])?.node;
    const behind = reader?.opType === 'QuantizeLinear' ? graph.conversion(reader) : undefined;
    return before && behind ? [{ node, before, behind }] : [];
  });
}

/** Operators that an operator on codes can do as well when the parameters are the same on both sides. */
function codeForm({ node, before, behind }: Island, graph: QuantizedGraph): (() => void) | undefined {
  const isFirst = node.domain === '' && node.inputs[0] === before.output;
  if (!isFirst || !sameParameters(before, behind) || (before.codeType !== 'uint8' && before.codeType !== 'int8')) return undefined;
  const { codeType } = before;
  const zeroPoint = (): Value =>
    graph.addConstant(node, 'zero_code', tensorOf(codeType, [], Uint8Array.of((before.zeroPoints?.[0] ?? 0) & 0xff)));
  const run = (opType: string, operands: (Value | null)[], attributes: Node['attributes']): void => {
    const codes = graph.store.newValue(`${behind.output.name}_moved`);
    const inputs = [before.node.inputs[0] ?? null, ...operands];
    node.graph?.insertBefore(node, graph.store.newNode({ opType, inputs, outputs: [codes], attributes }, codes.name));
    for (const use of behind.output.uses) use.node.setInput(use.index, codes);
  };
  if (graph.store.isGraphOutput(behind.output)) return undefined;
  switch (node.opType) {
    case 'SpaceToDepth':
      return () => run('SpaceToDepth', [], node.attributes);
    case 'Pad':
      return padsZeros(node, graph)
        ? () => run('Pad', [node.inputs[1] ?? null, zeroPoint(), ...node.inputs.slice(3)], node.attributes)
        : undefined;
    case 'Relu':
      return graph.model.opset >= 12 ? () => run('Clip', [zeroPoint()], new Map()) : undefined;
    default:
      return undefined;
  }
}

function padsZeros(node: Node, graph: QuantizedGraph): boolean {
  if (graph.model.opset < 13 || !node.inputs[1]) return false;
  if (stringAttribute(node, 'mode', 'constant') !== 'constant') return false;
  return !node.inputs[2] || graph.floats(node.inputs[2])?.[0] === 0;
}

export const movableCodes: Rule = {
  title: 'A float operator between pairs with the same parameters that could work on codes.',
  examine: (graph) =>
    islands(graph).flatMap((island): Diagnosis[] => {
      const form = codeForm(island, graph);
      if (!form) return [];
      const apply = () => {
        form();
        return [];
      };
      return [
        {
          node: island.node,
          effect: 'slow',
          repairable: 'exact',
          repair: { proof: 'equal', apply },
          sentence: `${island.node.opType} stands between DequantizeLinear and QuantizeLinear of the same scale: the runtime dequantizes, computes in float and quantizes again.`,
          instead: 'It works on the codes themselves: the same result.',
        },
      ];
    }),
};

export const noIntegerKernel: Rule = {
  title: 'Pairs around an operator that the runtime computes in float.',
  examine: (graph) =>
    islands(graph).flatMap((island): Diagnosis[] => {
      if (codeForm(island, graph)) return [];
      const { node } = island;
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `The CPU provider has no integer kernel for ${node.opType}: its operands are dequantized and its output is quantized in every run.`,
          instead:
            'Leave it and what surrounds it in float when it is quantized again; without its pairs its output would not be rounded, so that removing them is not exact.',
        },
      ];
    }),
};

/** DequantizeLinear whose output is quantized again at once. */
function pairsInARow(graph: QuantizedGraph): { first: Conversion; second: Conversion }[] {
  return graph.conversions.flatMap((second) => {
    const first = second.node.opType === 'QuantizeLinear' ? graph.dequantizedActivation(second.input) : undefined;
    return first ? [{ first, second }] : [];
  });
}

export const repeatedPair: Rule = {
  title: 'A value that is dequantized and quantized again with the same parameters.',
  examine: (graph) =>
    pairsInARow(graph).flatMap(({ first, second }): Diagnosis[] => {
      if (!sameParameters(first, second) || !codeRangeOf(first.codeType) || graph.store.isGraphOutput(second.output)) return [];
      const apply = () => {
        const codes = first.node.inputs[0] ?? null;
        for (const { node, index } of second.output.uses) node.setInput(index, codes);
        return [];
      };
      return [
        {
          node: second.node,
          effect: 'slow',
          repairable: 'exact',
          repair: { proof: 'equal', apply },
          sentence: `"${first.input.name}" is dequantized and quantized again with the same scale and zero point: the same codes come out.`,
          instead: 'Its readers read the first codes.',
        },
      ];
    }),
};

export const conflictingPairs: Rule = {
  title: 'A value that is dequantized and quantized again with other parameters.',
  examine: (graph) =>
    pairsInARow(graph).flatMap(({ first, second }): Diagnosis[] => {
      if (sameParameters(first, second) || first.codeType !== second.codeType || !first.scales || !second.scales) return [];
      return [
        {
          node: second.node,
          effect: 'numbers',
          repairable: 'no',
          sentence: `"${first.input.name}" is quantized twice in a row with scales ${first.scales[0]} and ${second.scales[0]}: the runtime merges the pairs (DoubleQDQPairsRemover), and codes change.`,
          instead: 'Load with session.disable_double_qdq_remover = "1" to keep the numbers, or quantize the value once.',
        },
      ];
    }),
};
