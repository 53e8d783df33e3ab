/** What stands between an operator and its QuantizeLinear: only a Relu or Clip that the range makes redundant may (onnxruntime.md 1.2, rule 4). */
import { float32Tensor, floatAttribute, type Node, tensorOf } from '../../../ir/index.js';
import { roundHalfToEven } from '../../quantization-parameters.js';
import { codeRangeOf } from '../code-range.js';
import type { Diagnosis, Rule } from '../finding.js';
import { arrivingCodes, integerForm, operandsOf, tailOf } from '../integer-forms.js';
import { type Conversion, type QuantizedGraph, sameParameters } from '../quantized-graph.js';

interface Bounds {
  readonly low: number;
  readonly high: number;
}

interface ActivatedNode {
  readonly node: Node;
  readonly activation: Node;
  readonly quantizer: Conversion;
  /** undefined for anything but Relu and Clip with constant bounds. */
  readonly bounds: Bounds | undefined;
}

/** Operators with an integer form, fed by codes, whose output passes one operator on its way to QuantizeLinear. */
function activatedNodes(graph: QuantizedGraph): ActivatedNode[] {
  return graph.nodes.flatMap((node) => {
    const form = integerForm(node);
    if (!form || form.moves || !operandsOf(node, form).some((value) => arrivingCodes(value, graph))) return [];
    const { activation, quantizer } = tailOf(node, graph);
    if (!activation || !quantizer || integerForm(activation)?.moves) return [];
    return [{ node, activation, quantizer, bounds: boundsOf(activation, graph) }];
  });
}

export function boundsOf(node: Node, graph: QuantizedGraph): Bounds | undefined {
  if (node.domain !== '') return undefined;
  if (node.opType === 'Relu') return { low: 0, high: Number.POSITIVE_INFINITY };
  if (node.opType !== 'Clip') return undefined;
  const [low, high] = [1, 2].map((index) => graph.floats(node.inputs[index])?.[0]);
  if ((node.inputs[1] && low === undefined) || (node.inputs[2] && high === undefined)) return undefined;
  return {
    low: low ?? floatAttribute(node, 'min', Number.NEGATIVE_INFINITY),
    high: high ?? floatAttribute(node, 'max', Number.POSITIVE_INFINITY),
  };
}

/** rint(low / s) + zp <= smallest code and rint(high / s) + zp >= largest code: the codes are clipped there anyway. */
function isRedundant({ low, high }: Bounds, { scales, zeroPoints, codeType, isPerTensor }: Conversion): boolean | undefined {
  const codes = codeRangeOf(codeType);
  const [scale] = scales ?? [];
  const [zeroPoint] = zeroPoints ?? [];
  if (!codes || !isPerTensor || scale === undefined || zeroPoint === undefined) return undefined;
  const code = (value: number): number => roundHalfToEven(Math.fround(value / scale)) + zeroPoint;
  return code(low) <= codes.min && code(high) >= codes.max;
}

export const redundantActivation: Rule = {
  title: 'A Relu or Clip that the range of the QuantizeLinear behind it makes redundant.',
  examine: (graph) =>
    activatedNodes(graph).flatMap(({ node, activation, quantizer, bounds }): Diagnosis[] => {
      if (!bounds || !isRedundant(bounds, quantizer)) return [];
      const apply = () => {
        quantizer.node.setInput(0, node.outputs[0] ?? null);
        return [];
      };
      return [
        {
          node: activation,
          effect: 'harmless',
          repairable: 'exact',
          repair: { proof: 'equal', apply },
          sentence: `The codes behind it end where ${activation.opType} does: the runtime drops it when it loads the model, other runtimes compute it.`,
          instead: 'Removed: the codes are the same without it.',
        },
      ];
    }),
};

export const activationRange: Rule = {
  title: 'A Relu or Clip that the range of the QuantizeLinear behind it does not make redundant.',
  examine: (graph) =>
    activatedNodes(graph).flatMap((found): Diagnosis[] => {
      const { node, activation, quantizer, bounds } = found;
      if (!bounds || isRedundant(bounds, quantizer) !== false) return [];
      const parameters = fittingParameters(bounds, quantizer);
      const sentence =
        `${activation.opType} stands between it and its QuantizeLinear, whose codes reach beyond what ${activation.opType} lets through ` +
        `(zero point ${quantizer.zeroPoints?.[0]}): the runtime leaves the node in float.`;
      const base = { node, effect: 'float', sentence } as const;
      if (!parameters) return [{ ...base, repairable: 'no', instead: 'Quantize again; the range must end where the activation does.' }];
      const apply = () => {
        changeParameters(quantizer, parameters, graph);
        return [];
      };
      return [
        {
          ...base,
          repairable: 'on-request',
          instead: `Asked for by its kind, the range becomes that of ${activation.opType} (scale ${parameters.scale}, zero point ${parameters.zeroPoint}): other codes, a finer step.`,
          repair: { proof: 'measured', apply },
        },
      ];
    }),
};

interface Parameters {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** The present range cut to the bounds: scale = (high - low) / (codes.max - codes.min), zero point = rint(codes.min - low / scale). */
function fittingParameters(bounds: Bounds, quantizer: Conversion): Parameters | undefined {
  const codes = codeRangeOf(quantizer.codeType);
  const [scale = 0] = quantizer.scales ?? [];
  const [zeroPoint = 0] = quantizer.zeroPoints ?? [];
  if (!codes) return undefined;
  const low = Math.min(0, Math.max(bounds.low, (codes.min - zeroPoint) * scale));
  const high = Math.max(0, Math.min(bounds.high, (codes.max - zeroPoint) * scale));
  // Half a code narrower than the bounds at most, so that the bounds lie at or beyond the ends of the codes.
  const fitted = Math.fround((high - low) / (codes.max - codes.min));
  if (!(fitted > 0)) return undefined;
  const parameters = { scale: fitted, zeroPoint: roundHalfToEven(codes.min - low / fitted) };
  const fits = isRedundant(bounds, { ...quantizer, scales: Float32Array.of(fitted), zeroPoints: [parameters.zeroPoint] });
  return fits ? parameters : undefined;
}

/** New parameters for the codes of `quantizer`, wherever they are read, and behind movers that hand them on. */
function changeParameters(quantizer: Conversion, { scale, zeroPoint }: Parameters, graph: QuantizedGraph): void {
  const type = quantizer.codeType === 'int8' ? { name: 'int8', of: Int8Array } : { name: 'uint8', of: Uint8Array };
  const newScale = graph.addConstant(quantizer.node, 'fitted_scale', float32Tensor([], [scale]));
  const zeroPoints = type.of.of(zeroPoint);
  const newZeroPoint = graph.addConstant(
    quantizer.node,
    'fitted_zero_point',
    tensorOf(type.name === 'int8' ? 'int8' : 'uint8', [], zeroPoints),
  );
  const pending = [quantizer];
  const changed = new Set<Node>();
  for (const conversion of pending) {
    if (changed.has(conversion.node)) continue;
    changed.add(conversion.node);
    for (const { node: reader, index } of conversion.output.uses) {
      const next = graph.conversion(reader);
      if (conversion.node.opType === 'QuantizeLinear' && next && index === 0) pending.push(next);
      if (conversion.node.opType !== 'DequantizeLinear' || !integerForm(reader)?.moves) continue;
      pending.push(...graph.quantizers(reader.outputs[0]).filter((behind) => sameParameters(behind, quantizer)));
    }
  }
  for (const node of changed) {
    node.setInput(1, newScale);
    node.setInput(2, newZeroPoint);
  }
}

export const activationBetween: Rule = {
  title: 'Another operator than Relu or Clip between an operator and its QuantizeLinear.',
  examine: (graph) =>
    activatedNodes(graph).flatMap(({ node, activation, bounds }): Diagnosis[] => {
      if (bounds || integerForm(node)?.output !== 'required') return [];
      return [
        {
          node,
          effect: 'float',
          repairable: 'no',
          sentence: `${activation.opType} stands between it and its QuantizeLinear: only a Relu or Clip with constant bounds may, so the runtime leaves the node in float.`,
          instead: `Quantize the input of ${activation.opType}, too: this needs its range, so calibrate again (static-int8).`,
        },
      ];
    }),
};
