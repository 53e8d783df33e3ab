/** Scales, zero points and types that the integer kernels do not take. */
import { type DataType, dataTypes, elementCount, float32Tensor, type Node, tensorOf } from '../../../ir/index.js';
import { codeRangeOf } from '../code-range.js';
import type { Diagnosis, Rule } from '../finding.js';
import { arrivingCodes, integerForm, operandsOf, tailOf } from '../integer-forms.js';
import type { Conversion, QuantizedGraph } from '../quantized-graph.js';

export const missingZeroPoint: Rule = {
  title: 'DequantizeLinear without a zero point in front of Gemm.',
  examine: (graph) =>
    graph.nodes.flatMap((node): Diagnosis[] => {
      if (node.opType !== 'Gemm' || !graph.dequantizer(node.inputs[0]) || !graph.dequantizer(node.inputs[1])) return [];
      const around = [...node.inputs.map((value) => graph.dequantizer(value)), tailOf(node, graph).quantizer];
      const missing = around
        .filter((each) => each !== undefined)
        .filter(({ zeroPoint, codeType }) => zeroPoint === null && codeType !== undefined);
      if (missing.length === 0) return [];
      const apply = () => {
        for (const conversion of missing) addZeroPoint(conversion, graph);
        return [];
      };
      return [
        {
          node,
          effect: 'float',
          repairable: 'exact',
          repair: { proof: 'equal', apply },
          sentence:
            'A DequantizeLinear in front of it, or the QuantizeLinear behind it, has no zero point: the runtime wants them written out for Gemm and leaves the node in float.',
          instead: 'The zero point 0 is written out.',
        },
      ];
    }),
};

function addZeroPoint({ node, scale, codeType }: Conversion, graph: QuantizedGraph): void {
  if (!codeType || node.inputs[2]) return;
  const dims = graph.store.constant(scale)?.tensor.dims ?? [];
  const bytes = new Uint8Array((elementCount(dims) * dataTypes[codeType].bits) / 8);
  node.setInput(2, graph.addConstant(node, 'zero_point', tensorOf(codeType, dims, bytes)));
  node.attributes.delete('output_dtype');
}

/** Operators that compute take varying parameters (seen in 1.30); those that only move values must see them equal before the model runs. */
export const varyingParameters: Rule = {
  title: 'A scale or zero point that is no constant, around an operator that only moves values.',
  examine: (graph) =>
    graph.nodes.flatMap((node): Diagnosis[] => {
      if (!integerForm(node)?.moves) return [];
      const around = [graph.dequantizedActivation(node.inputs[0]), tailOf(node, graph).quantizer];
      const varying = around
        .flatMap((each) => (each ? [each.scale, each.zeroPoint] : []))
        .find((value) => value && !graph.isFoldable(value));
      if (!varying || around.some((each) => each === undefined) || varying.producer?.opType === 'DynamicQuantizeLinear') return [];
      const isInput = graph.model.graph.isInput(varying);
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `The parameter "${varying.name}" around it is ${isInput ? 'an input of the model, even if it has a default' : 'computed in every run'}: the runtime moves codes only where it knows that they mean the same on both sides.`,
          instead: isInput
            ? 'Remove it from the inputs of the model, so that its default is a constant.'
            : 'Store the scale as a constant, or leave out the pair behind the operator.',
        },
      ];
    }),
};

export const perChannelActivation: Rule = {
  title: 'An activation with one scale per channel.',
  examine: (graph) =>
    graph.conversions.flatMap((conversion): Diagnosis[] => {
      const { node, input, isPerTensor, scales } = conversion;
      const isActivation = node.opType === 'QuantizeLinear' && !graph.isFoldable(input);
      if (!isActivation || isPerTensor || !scales || !feedsIntegerForm(conversion, graph)) return [];
      const uniform =
        scales.every((scale) => scale === scales[0]) && (conversion.zeroPoints ?? []).every((each) => each === conversion.zeroPoints?.[0]);
      const base = {
        node,
        effect: 'fails',
        sentence: `The activation "${input.name}" has ${scales.length} scales: the runtime fuses what reads it, and the fused node fails when it runs (its zero point must be a scalar).`,
      } as const;
      if (!uniform || conversion.blockSize > 0)
        return [{ ...base, repairable: 'no', instead: 'Quantize this activation again with one scale; per channel is for weights.' }];
      const apply = () => {
        for (const each of [conversion, ...readersOf(conversion, graph)]) makeScalar(each, graph);
        return [];
      };
      return [{ ...base, repairable: 'exact', instead: 'All its scales are equal: one is kept.', repair: { proof: 'equal', apply } }];
    }),
};

function readersOf({ output }: Conversion, graph: QuantizedGraph): Conversion[] {
  return output.uses.flatMap(({ node, index }) => (index === 0 ? (graph.conversion(node) ?? []) : []));
}

function feedsIntegerForm(conversion: Conversion, graph: QuantizedGraph): boolean {
  return readersOf(conversion, graph).some(({ output }) =>
    output.consumers.some((reader) => integerForm(reader) && !integerForm(reader)?.moves),
  );
}

function makeScalar({ node, scales, zeroPoints, codeType }: Conversion, graph: QuantizedGraph): void {
  const [scale] = scales ?? [];
  if (scale === undefined || !codeType) return;
  const bytes = Uint8Array.of((zeroPoints?.[0] ?? 0) & 0xff);
  node.setInput(1, graph.addConstant(node, 'scalar_scale', float32Tensor([], [scale])));
  if (node.inputs[2]) node.setInput(2, graph.addConstant(node, 'scalar_zero_point', tensorOf(codeType, [], bytes)));
  node.attributes.delete('axis');
}

/** Computing nodes with an integer form that are fed by a DequantizeLinear of an activation, and what feeds and follows them. */
function surroundings(graph: QuantizedGraph): { node: Node; types: (DataType | undefined)[]; weightType: DataType | undefined }[] {
  return graph.nodes.flatMap((node) => {
    const form = integerForm(node);
    if (!form || form.moves) return [];
    const operands = operandsOf(node, form).map((value) => arrivingCodes(value, graph));
    if (!operands.some((each) => each && !graph.store.constant(each.input))) return [];
    const isWeight = (at: number): boolean => form.weight !== undefined && form.operands !== 'all' && form.operands[at] === form.weight;
    const tail = tailOf(node, graph).quantizer;
    const types = [...operands.filter((each, at) => each && !isWeight(at)), tail].flatMap((each) => (each ? [each.codeType] : []));
    return [{ node, types, weightType: operands.find((_, at) => isWeight(at))?.codeType }];
  });
}

const is8Bit = (type: DataType | undefined): boolean => type === 'uint8' || type === 'int8';

export const unfusableType: Rule = {
  title: 'Activations or weights of 16 or 4 bits, or of a float8 type, in front of an integer kernel.',
  examine: (graph) =>
    surroundings(graph).flatMap(({ node, types, weightType }): Diagnosis[] => {
      const odd = [...types, ...(weightType ? [weightType] : [])].find((type) => type && !is8Bit(type));
      if (!odd) return [];
      const wide = (codeRangeOf(odd)?.max ?? 0) > 255;
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `It reads or makes ${odd} codes: the CPU provider computes on 8-bit codes only, everything else in float on dequantized values.`,
          instead: wide
            ? 'Sixteen bits keep accuracy, not time, on CPUs: quantize with 8 bits, or leave the node in float.'
            : 'Store such weights for products with float activations only (weight-only).',
        },
      ];
    }),
};

export const typeMismatch: Rule = {
  title: 'Operands and output of an operator with different 8-bit types.',
  examine: (graph) =>
    surroundings(graph).flatMap(({ node, types, weightType }): Diagnosis[] => {
      if (types.some((type) => !is8Bit(type))) return [];
      const isMixed = new Set(types).size > 1;
      const isSignedByUnsigned = types[0] === 'int8' && weightType === 'uint8';
      if (!isMixed && !isSignedByUnsigned) return [];
      const what = isMixed
        ? 'Its inputs and its output have different types (uint8 and int8)'
        : 'Its activation is int8 and its weight uint8';
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `${what}: the runtime wants one type for all activations of a node.`,
          instead: 'The repair "signed-activations" makes them all uint8.',
        },
      ];
    }),
};
