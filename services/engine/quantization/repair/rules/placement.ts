/** Where QuantizeLinear and DequantizeLinear stand: an integer kernel wants codes for every operand and, nearly always, a QuantizeLinear behind it. */
import { float32Tensor, type Node, stringAttribute, tensorOf, type Value } from '../../../ir/index.js';
import type { Diagnosis, Rule } from '../finding.js';
import { arrivingCodes, type IntegerForm, integerForm, operandsOf, tailOf } from '../integer-forms.js';
import { type Conversion, type QuantizedGraph, sameParameters } from '../quantized-graph.js';

/** Computing nodes with an integer form of which some operand is a dequantized activation. */
function fedByCodes(graph: QuantizedGraph): { node: Node; form: IntegerForm }[] {
  return graph.nodes.flatMap((node) => {
    const form = integerForm(node);
    const arriving = form ? operandsOf(node, form).map((value) => arrivingCodes(value, graph)) : [];
    return form && arriving.some((each) => each && !graph.store.constant(each.input)) ? [{ node, form }] : [];
  });
}

export const floatOperand: Rule = {
  title: 'An operator of which one operand is quantized and another is float.',
  examine: (graph) =>
    fedByCodes(graph).flatMap(({ node, form }): Diagnosis[] =>
      operandsOf(node, form).flatMap((value, at): Diagnosis[] => {
        if (!value || arrivingCodes(value, graph) || isTrapped(node, value, graph)) return [];
        const index = form.operands === 'all' ? at : (form.operands[at] ?? at);
        return [floatOperandOf(node, { value, index, graph })];
      }),
    ),
};

function floatOperandOf(node: Node, { value, index, graph }: { value: Value; index: number; graph: QuantizedGraph }): Diagnosis {
  const constant = graph.store.constant(value)?.tensor;
  const base = {
    node,
    effect: 'float',
    sentence: `Its operand "${value.name}" is float${constant ? ', a constant' : ''}: the integer kernel wants every operand behind DequantizeLinear.`,
  } as const;
  const floats = graph.floats(value);
  const [first] = floats ?? [];
  const neighbour = node.inputs.map((each) => graph.dequantizedActivation(each)).find((each) => each !== undefined);
  const type = neighbour?.codeType;
  const isUniform = first !== undefined && first > 0 && floats?.every((each) => each === first);
  if (!constant || !isUniform || (type !== 'uint8' && type !== 'int8') || integerForm(node)?.weight === index) {
    const what = constant
      ? 'Quantize the constant, too (its elements differ, so that its codes are not exact).'
      : 'Quantize it, too: this needs its range (static-int8).';
    return { ...base, repairable: 'no', instead: what };
  }
  const apply = () => {
    const codes = new Uint8Array(floats?.length ?? 1).fill(1);
    const operands = [
      graph.addConstant(node, 'operand_codes', tensorOf(type, constant.dims, codes)),
      graph.addConstant(node, 'operand_scale', float32Tensor([], [first])),
      graph.addConstant(node, 'operand_zero_point', tensorOf(type, [], new Uint8Array(1))),
    ];
    graph.insertDequantize(node, index, { operands });
    return [];
  };
  return {
    ...base,
    repairable: 'exact',
    instead: `All its elements are ${first}: code 1 at scale ${first}, exactly.`,
    repair: { proof: 'equal', apply },
  };
}

/** WeightBiasQuantization takes float weights of these when codes come in and QuantizeLinear follows. */
const trappedOperators: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'Gemm']);

function isTrapped(node: Node, value: Value, graph: QuantizedGraph): boolean {
  if (!trappedOperators.has(node.opType) || node.domain !== '' || node.inputs[1] !== value || !graph.isFoldable(value)) return false;
  const { quantizer, activation } = tailOf(node, graph);
  return quantizer !== undefined && (!activation || activation.opType === 'Relu' || activation.opType === 'Clip');
}

export const weightBiasTrap: Rule = {
  title: 'A float weight that the runtime will quantize by itself.',
  examine: (graph) =>
    graph.nodes.flatMap((node): Diagnosis[] => {
      const weight = node.inputs[1];
      if (!weight || !graph.dequantizedActivation(node.inputs[0]) || !isTrapped(node, weight, graph)) return [];
      if (graph.dequantizer(weight) || graph.dequantizer(weight.producer?.inputs[0])) return [];
      return [
        {
          node,
          effect: 'numbers',
          repairable: 'no',
          sentence: `Its weight "${weight.name}" is float between quantized tensors: the runtime quantizes it to int8 with one scale when it loads the model, and the output codes change.`,
          instead:
            'To keep it in float, remove the DequantizeLinear and QuantizeLinear around it, or load with optimization.disable_specified_optimizers = "WeightBiasQuantization".',
        },
      ];
    }),
};

export const outputNotQuantized: Rule = {
  title: 'An operator fed by codes with no QuantizeLinear behind it.',
  examine: (graph) =>
    fedByCodes(graph).flatMap(({ node, form }): Diagnosis[] => {
      const tail = tailOf(node, graph);
      const isComplete = operandsOf(node, form).every((value) => arrivingCodes(value, graph));
      if (form.moves || form.output !== 'required' || tail.quantizer || tail.isAlsoFloat || !isComplete) return [];
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `No QuantizeLinear follows: the runtime has no ${node.opType} that takes codes and makes floats, so it dequantizes the operands in every run.`,
          instead: 'Quantize its output, too (this needs its range: static-int8), or leave the node out of the quantization.',
        },
      ];
    }),
};

export const outputAlsoFloat: Rule = {
  title: 'An output that is quantized and also read as it is.',
  examine: (graph) =>
    fedByCodes(graph).flatMap(({ node, form }): Diagnosis[] => {
      const [output] = node.outputs;
      if (form.moves || form.output === 'none' || !output || !tailOf(node, graph).isAlsoFloat) return [];
      const isOutput = graph.store.isGraphOutput(output);
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `"${output.name}" is quantized and ${isOutput ? 'returned by the model as it is' : 'read as it is by other nodes'}: the float value must exist, so the runtime computes it in float.`,
          instead: isOutput
            ? 'Return what DequantizeLinear makes of the codes: the output then has the error of one quantization.'
            : 'Let the other readers read what DequantizeLinear makes of the codes.',
        },
      ];
    }),
};

/** Pairs of a mover: the DequantizeLinear in front and the QuantizeLinear behind. */
function moverPairs(graph: QuantizedGraph): { node: Node; before: Conversion; behind: Conversion }[] {
  return fedByCodes(graph).flatMap(({ node, form }) => {
    const before = graph.dequantizedActivation(node.inputs[0]);
    const behind = graph.soleUse(node.outputs[0])?.node;
    const quantizer = behind?.opType === 'QuantizeLinear' ? graph.conversion(behind) : undefined;
    return form.moves && before && quantizer ? [{ node, before, behind: quantizer }] : [];
  });
}

export const moverParameters: Rule = {
  title: 'An operator that only moves values, with other parameters behind it than in front.',
  examine: (graph) =>
    moverPairs(graph).flatMap(({ node, before, behind }): Diagnosis[] => {
      if (sameParameters(before, behind) || !before.scales || !behind.scales) return [];
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `It only moves values, yet they are quantized with scale ${before.scales[0]} in front and ${behind.scales[0]} behind: the runtime moves floats and rounds them twice.`,
          instead: 'Quantize again with one scale for both sides (static-int8 does).',
        },
      ];
    }),
};

export const interpolation: Rule = {
  title: 'Resize that interpolates between quantized values.',
  examine: (graph) =>
    moverPairs(graph).flatMap(({ node }): Diagnosis[] => {
      const mode = stringAttribute(node, 'mode', 'nearest');
      if (node.opType !== 'Resize' || mode === 'nearest') return [];
      return [
        {
          node,
          effect: 'numbers',
          repairable: 'no',
          sentence: `It interpolates (${mode}): the runtime computes it in float; versions before 1.28 computed it on codes and rounded differently.`,
          instead: 'Leave out the pair around it, or use mode "nearest".',
        },
      ];
    }),
};

export const operatorVersion: Rule = {
  title: 'An operator set in which the runtime does not fuse the operator.',
  examine: (graph) =>
    moverPairs(graph).flatMap(({ node }): Diagnosis[] => {
      const { opset } = graph.model;
      if (node.opType !== 'MaxPool' || (opset >= 12 && opset < 22)) return [];
      return [
        {
          node,
          effect: opset < 12 ? 'float' : 'harmless',
          repairable: 'no',
          sentence:
            opset < 12
              ? `MaxPool of operator set ${opset} has no 8-bit form.`
              : 'MaxPool of operator set 22 is computed on codes from onnxruntime 1.28 on; before, in float.',
          instead: opset < 12 ? 'Convert the model to operator set 12 or newer.' : 'Use operator set 21 for older runtimes.',
        },
      ];
    }),
};
