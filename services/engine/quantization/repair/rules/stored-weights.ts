/** Weights that are stored in a form in which the runtime converts them in every run, or not at all. */
import {
  attributeOf,
  dataTypes,
  elementCount,
  float32Tensor,
  intAttribute,
  intsAttribute,
  type Node,
  type Value,
} from '../../../ir/index.js';
import type { Constant } from '../../../layers/weight-store.js';
import { roundHalfToEven } from '../../quantization-parameters.js';
import { codeRangeOf } from '../code-range.js';
import type { Diagnosis, Rule } from '../finding.js';
import { packCodes, transposed, unpackCodes } from '../packed-codes.js';
import type { Conversion, QuantizedGraph } from '../quantized-graph.js';

type StoredWeight = Conversion & { readonly constant: Constant };

/** Elements of one scale along the last axes, for parameters per axis. */
function parameterAt(at: number, dims: readonly number[], { axis, isPerTensor }: Conversion): number {
  if (isPerTensor) return 0;
  const from = axis < 0 ? axis + dims.length : axis;
  return Math.floor(at / elementCount(dims.slice(from + 1))) % (dims[from] ?? 1);
}

/** QuantizeLinear of a stored float32 weight, as exports of quantization-aware training have them. */
export const unfoldedWeight: Rule = {
  title: 'A weight stored as float32 and quantized in the graph.',
  examine: (graph) =>
    graph.conversions.flatMap((conversion): Diagnosis[] => {
      const { node, scales, zeroPoints, codeType, blockSize } = conversion;
      const values = node.opType === 'QuantizeLinear' ? graph.floats(conversion.input) : undefined;
      const isByte = codeType === 'int8' || codeType === 'uint8';
      if (!values || !scales || !zeroPoints || !isByte || blockSize > 0 || graph.store.isGraphOutput(conversion.output)) return [];
      const apply = () => {
        foldQuantize(conversion, { values, graph });
        return [];
      };
      return [
        {
          node,
          effect: 'size',
          repairable: 'exact',
          repair: { proof: 'equal', apply },
          sentence: `"${conversion.input.name}" is stored as float32 and quantized when the model loads: four times the bytes of its codes.`,
          instead: 'Its codes are stored.',
        },
      ];
    }),
};

/** q = clip(rint(w / s) + zp), the division in float32 as the runtime does it. */
function foldQuantize(conversion: Conversion, { values, graph }: { values: Float32Array; graph: QuantizedGraph }): void {
  const { node, output, input, scales, zeroPoints, codeType } = conversion;
  const range = codeRangeOf(codeType);
  const dims = graph.store.constant(input)?.tensor.dims ?? [];
  if (!range || !codeType) return;
  const codes = Uint32Array.from(values, (value, at) => {
    const parameter = parameterAt(at, dims, conversion);
    const rounded = roundHalfToEven(Math.fround(value / (scales?.[parameter] ?? 1))) + (zeroPoints?.[parameter] ?? zeroPoints?.[0] ?? 0);
    return Math.max(range.min, Math.min(range.max, rounded)) & 0xff;
  });
  const stored = graph.addConstant(node, 'codes', packCodes(codes, { dataType: codeType }, dims));
  for (const use of output.uses) use.node.setInput(use.index, stored);
}

/** DequantizeLinear -> Transpose, and Gemm with transB = 1 whose activation is float. */
export const transposedWeight: Rule = {
  title: 'A quantized weight that is transposed after it was dequantized.',
  examine: (graph) => graph.nodes.flatMap((node) => transposeOf(node, graph) ?? gemmOf(node, graph) ?? []),
};

function transposeOf(node: Node, graph: QuantizedGraph): Diagnosis[] | undefined {
  if (node.opType !== 'Transpose' || node.domain !== '') return undefined;
  const weight = graph.dequantizedConstant(node.inputs[0]);
  const output = node.outputs[0];
  if (!weight || !output || graph.store.isGraphOutput(output)) return undefined;
  const order = intsAttribute(node, 'perm', [...weight.constant.tensor.dims.keys()].reverse());
  const apply = () => {
    for (const { node: reader, index } of output.uses) readTransposed(reader, index, { weight, order, graph });
    return [];
  };
  return [
    {
      node,
      effect: 'float',
      repairable: 'exact',
      repair: { proof: 'equal', apply },
      sentence: `It transposes the weight "${weight.input.name}" behind its DequantizeLinear: what reads it finds no DequantizeLinear and computes in float (1.30 mends this for 8-bit codes with a single reader).`,
      instead: 'The codes are stored transposed.',
    },
  ];
}

function gemmOf(node: Node, graph: QuantizedGraph): Diagnosis[] | undefined {
  if (node.opType !== 'Gemm' || node.domain !== '' || intAttribute(node, 'transB', 0) !== 1) return undefined;
  const weight = graph.dequantizedConstant(node.inputs[1]);
  if (!weight || graph.dequantizer(node.inputs[0])) return undefined;
  const apply = () => {
    readTransposed(node, 1, { weight, order: [1, 0], graph });
    node.attributes.delete('transB');
    return [];
  };
  return [
    {
      node,
      effect: 'float',
      repairable: 'exact',
      repair: { proof: 'equal', apply },
      sentence:
        'Its weight is quantized as [N, K] (transB = 1) and its activation is float: the runtime has a kernel for [K, N] only and dequantizes the weight in every run.',
      instead:
        'The codes are stored as [K, N]. Where the runtime then uses MatMulNBits, it rounds activations to int8 unless session.qdq_matmulnbits_accuracy_level is "1".',
    },
  ];
}

/** Input `index` of `reader` becomes the weight with its axes in `order`. */
function readTransposed(
  reader: Node,
  index: number,
  { weight, order, graph }: { weight: StoredWeight; order: readonly number[]; graph: QuantizedGraph },
): void {
  const { scale, zeroPoint, blockSize, isPerTensor, constant } = weight;
  const axis = weight.axis < 0 ? weight.axis + order.length : weight.axis;
  const parameter = (value: Value | null): Value | null => {
    const tensor = graph.store.constant(value)?.tensor;
    return value && tensor && blockSize > 0 ? graph.addConstant(reader, 'transposed_parameters', transposed(tensor, order)) : value;
  };
  const codes = graph.addConstant(reader, 'transposed_codes', transposed(constant.tensor, order));
  const attributes = blockSize > 0 ? { block_size: attributeOf.int(blockSize) } : {};
  graph.insertDequantize(reader, index, {
    operands: [codes, parameter(scale), parameter(zeroPoint)],
    axis: isPerTensor ? undefined : order.indexOf(axis),
    attributes,
  });
}

/** Products with float activations on stored codes, or on a scale, that others read, too. */
export const tiedWeight: Rule = {
  title: 'A quantized weight that several products with float activations share.',
  examine: (graph) =>
    graph.conversions.flatMap((conversion): Diagnosis[] => {
      const weight = graph.dequantizedConstant(conversion.output);
      const uses = conversion.output.uses.filter(({ node, index }) => isWeightOnlyProduct(node, index, graph));
      const shares = [weight?.input, weight?.scale].some((value) => (value?.uses.length ?? 0) > 1) || conversion.output.uses.length > 1;
      if (!weight || weight.node !== conversion.node || uses.length === 0 || !shares) return [];
      const apply = () => {
        for (const { node, index } of uses) readCopy(node, index, { weight, graph });
        return [];
      };
      return [
        {
          node: conversion.node,
          effect: 'float',
          repairable: 'on-request',
          repair: { proof: 'equal', apply },
          sentence: `Others read the codes or the scale of the weight "${conversion.input.name}", too: the runtime then has no MatMulNBits for it and dequantizes it in every run.`,
          instead:
            'Use MatMulNBits (com.microsoft), whose packed weight may be shared; or ask for this kind: each product gets codes and scales of its own, as many bytes again.',
        },
      ];
    }),
};

function isWeightOnlyProduct(node: Node, index: number, graph: QuantizedGraph): boolean {
  return node.domain === '' && (node.opType === 'MatMul' || node.opType === 'Gemm') && index === 1 && !graph.dequantizer(node.inputs[0]);
}

function readCopy(node: Node, index: number, { weight, graph }: { weight: StoredWeight; graph: QuantizedGraph }): void {
  const operands = weight.node.inputs.map((value) => {
    const tensor = graph.store.constant(value)?.tensor;
    return tensor ? graph.addConstant(node, 'own_weight', tensor) : value;
  });
  graph.insertDequantize(node, index, { operands, attributes: Object.fromEntries(weight.node.attributes) });
}

export const weightOnlyConv: Rule = {
  title: 'A convolution with quantized weights and float activations.',
  examine: (graph) =>
    graph.nodes.flatMap((node): Diagnosis[] => {
      const weight = node.domain === '' && /^Conv(Transpose)?$/.test(node.opType) ? graph.dequantizedConstant(node.inputs[1]) : undefined;
      if (!weight || graph.dequantizer(node.inputs[0])) return [];
      const base = {
        node,
        effect: 'slow',
        sentence: 'Its weight is quantized and its activation is float: the runtime dequantizes the weight in every run.',
      } as const;
      const values = dequantized(weight);
      if (!values)
        return [
          {
            ...base,
            repairable: 'no',
            instead: 'Load the model with session.disable_quant_qdq = "1": the weight is then dequantized once.',
          },
        ];
      const apply = () => {
        node.setInput(1, graph.addConstant(node, 'weight_float', float32Tensor(weight.constant.tensor.dims, values)));
        return [];
      };
      return [
        {
          ...base,
          repairable: 'on-request',
          instead:
            'Load the model with session.disable_quant_qdq = "1" (dequantized once, small file), or ask for this kind: the weight is stored as float32, four times the bytes.',
          repair: { proof: 'equal', apply },
        },
      ];
    }),
};

const signedTypes: ReadonlySet<string> = new Set(['int8', 'int4', 'int2']);

/** (q - zp) * s in float32, as the runtime computes it. */
function dequantized(weight: StoredWeight): Float32Array | undefined {
  const { scales, zeroPoints, blockSize, constant } = weight;
  const { dataType, dims } = constant.tensor;
  const { bits } = dataTypes[dataType];
  if (!scales || !zeroPoints || blockSize > 0 || bits > 8) return undefined;
  const isSigned = signedTypes.has(dataType);
  return Float32Array.from(unpackCodes(constant.tensor), (code, at) => {
    const parameter = parameterAt(at, dims, weight);
    const value = isSigned && code >= 2 ** (bits - 1) ? code - 2 ** bits : code;
    return (value - (zeroPoints[parameter] ?? zeroPoints[0] ?? 0)) * (scales[parameter] ?? 1);
  });
}
