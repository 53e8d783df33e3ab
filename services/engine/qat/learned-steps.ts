/** Steps and offsets of 8-bit activations that are trained with the weights: LSQ, LSQ+ and PACT. */
import { type Estimator, type GradientRule, quantizationRules, straightThrough } from '../autodiff/index.js';
import {
  attributeOf,
  dataTypes,
  elementCount,
  float32Tensor,
  GraphWriter,
  type Model,
  NameAuthority,
  type Node,
  type Value,
} from '../ir/index.js';
import { codeRanges, type QuantizationParameters, roundHalfToEven } from '../quantization/quantization-parameters.js';
import type { RoundedActivations } from './rounded-activations.js';

/** 'fixed': as calibrated. 'pact' learns where values begin at 0, as behind a Relu; 'lsq+' learns the offset elsewhere, too. */
export type ActivationSteps = 'fixed' | 'lsq' | 'lsq+' | 'pact';

/** Names of constants in the model that is trained, by name of the value that is rounded. */
interface LearnedNames {
  /** r of s = s0 max(r, R). */
  readonly ratio: string;
  /** o of z = clip(round(z0 + 255 o), 0, 255); absent where the offset stays. */
  readonly offset?: string;
}

export interface LearnedSteps {
  readonly trained: ReadonlySet<string>;
  readonly fixed: ReadonlySet<string>;
  readonly estimator: Estimator;
  /** What the steps are in the end, by name of the value; `values` gives the elements of a constant. */
  parameters(values: (name: string) => Float32Array): RoundedActivations;
}

/** R: a step is never carried below this share of what it was. */
const RATIO_MIN = 1 / 16;
const TOP = codeRanges.uint8.max;
const STEM = 'qat';

/**
 * x^ = s (clip(round(x / s) + z, 0, 255) - z) with the step s and, for LSQ+, the offset z trained. Each QuantizeLinear of `model` that
 * rounds a value of `start` reads s = s0 max(r, 1/16) and z = clip(round(z0 + 255 o), 0, 255) instead of constants: what the artifact
 * holds is what the forward pass computed, to the bit. Edits `model` in place.
 */
export function learnSteps(model: Model, start: RoundedActivations, how: Exclude<ActivationSteps, 'fixed'>): LearnedSteps {
  const names = new NameAuthority(model);
  const write = new GraphWriter(model, names, model.graph, STEM);
  const before = new Set(model.graph.nodes);
  const rules = new Map<string, GradientRule>();
  const learned = new Map<string, LearnedNames>();
  const fixed = new Set<string>();
  for (const node of [...model.graph.nodes]) {
    const chosen = node.opType === 'QuantizeLinear' ? start.get(node.inputs[0]?.name ?? '') : undefined;
    const name = node.inputs[0]?.name ?? '';
    if (!chosen || learned.has(name) || (how === 'pact' && chosen.zeroPoint !== 0)) continue;
    const made = learnedScale(write, chosen, fixed);
    const offset = how === 'lsq+' && chosen.zeroPoint !== 0 ? learnedZeroPoint(write, chosen, fixed) : undefined;
    for (const each of roundingPair(node)) {
      each.setInput(1, made.scale);
      if (offset) each.setInput(2, offset.zeroPoint);
    }
    rules.set(node.name, how === 'pact' ? pactRule(chosen) : lsqRule(chosen));
    learned.set(name, { ratio: made.ratio.name, ...(offset ? { offset: offset.offset.name } : {}) });
  }
  const written = model.graph.nodes.filter((node) => !before.has(node));
  model.graph.reorder([...written, ...model.graph.nodes.filter((node) => before.has(node))]);
  const roundings = new Set(written.flatMap(({ name, opType }) => (opType === 'Round' || opType === 'Cast' ? [name] : [])));
  return {
    trained: new Set([...learned.values()].flatMap(({ ratio, offset }) => (offset === undefined ? [ratio] : [ratio, offset]))),
    fixed,
    estimator: ({ name }) => rules.get(name) ?? (roundings.has(name) ? straightThrough : undefined),
    parameters: (values) =>
      new Map(
        [...start].map(([name, chosen]) => {
          const own = learned.get(name);
          return [name, own ? parametersOf(chosen, own, values) : chosen] as const;
        }),
      ),
  };
}

/** A QuantizeLinear and the DequantizeLinear nodes that read it. */
function roundingPair(quantize: Node): Node[] {
  return [quantize, ...(quantize.outputs[0]?.consumers ?? [])];
}

function learnedScale(write: GraphWriter, { scale }: QuantizationParameters, fixed: Set<string>): { scale: Value; ratio: Value } {
  const start = write.constant(float32Tensor([], [scale]));
  const ratio = write.constant(float32Tensor([], [1]));
  fixed.add(start.name);
  return { scale: write.node('Mul', [start, write.node('Max', [ratio, write.float(RATIO_MIN)])]), ratio };
}

function learnedZeroPoint(
  write: GraphWriter,
  { zeroPoint }: QuantizationParameters,
  fixed: Set<string>,
): { zeroPoint: Value; offset: Value } {
  const start = write.constant(float32Tensor([], [zeroPoint]));
  const offset = write.constant(float32Tensor([], [0]));
  fixed.add(start.name);
  const place = write.node('Round', [write.node('Add', [start, write.node('Mul', [offset, write.float(TOP)])])]);
  const bounded = write.node('Clip', [place, write.float(0), write.float(TOP)]);
  return { zeroPoint: write.node('Cast', [bounded], { to: attributeOf.int(dataTypes.uint8.code) }), offset };
}

/** The same in float32 as the forward pass. */
function parametersOf(
  { scale, zeroPoint }: QuantizationParameters,
  { ratio, offset }: LearnedNames,
  values: (name: string) => Float32Array,
): QuantizationParameters {
  const moved = offset === undefined ? zeroPoint : Math.fround(zeroPoint + Math.fround((values(offset)[0] ?? 0) * TOP));
  return {
    scale: Math.fround(scale * Math.max(values(ratio)[0] ?? 1, RATIO_MIN)),
    zeroPoint: Math.max(0, Math.min(TOP, roundHalfToEven(moved))),
  };
}

/**
 * LSQ (Esser et al. 2020, equation 3), v = x / s, p = 255:
 *   dL/ds = g sum dy (round(v) - v inside, -z below, p - z above),  g = 1 / sqrt(N p), N elements per sample;
 * LSQ+ (Bhalgat et al. 2020) also dL/dz = -g s sum dy (outside).
 * The trained numbers are relative, r = s / s0 and o = (z - z0) / 255. What they are given is dL/ds / s0 and dL/dz / (255 s0^2) * 255,
 * so that a step of gradient descent changes s / s0 and the offset as LSQ's and LSQ+'s own does: the rule divides by s0^2, and the
 * chain from s to r multiplies by s0 again.
 */
function lsqRule({ scale }: QuantizationParameters): GradientRule {
  return (step) => {
    const { node, write } = step;
    const [gradient] = step.gradients;
    const [dx, ds] = quantizationRules.QuantizeLinear(step);
    if (!gradient || !dx || !ds) return [dx];
    const share = gradientShare(step.shape(node.inputs[0]));
    const dScale = write.node('Mul', [ds, write.float(share / scale ** 2)]);
    if (!step.wants(2)) return [dx, dScale];
    const clipped = write.node('ReduceSum', [write.node('Sub', [gradient, dx])], { keepdims: attributeOf.int(0) });
    return [dx, dScale, write.node('Mul', [clipped, write.float(-share / (scale * TOP ** 2))])];
  };
}

/** PACT (Choi et al. 2018, equation 3), alpha = 255 s: dL/dalpha = sum dy (x >= alpha). Scaled as LSQ's. */
function pactRule({ scale }: QuantizationParameters): GradientRule {
  return (step) => {
    const { node, write } = step;
    const [gradient] = step.gradients;
    const [x, s] = node.inputs;
    const [dx] = quantizationRules.QuantizeLinear(step);
    if (!gradient || !x || !s) return [dx];
    const isAbove = write.node('Cast', [write.node('Greater', [x, write.node('Mul', [s, write.float(TOP)])])], {
      to: attributeOf.int(dataTypes.float32.code),
    });
    const above = write.node('ReduceSum', [write.node('Mul', [gradient, isAbove])], { keepdims: attributeOf.int(0) });
    return [dx, write.node('Mul', [above, write.float((TOP * gradientShare(step.shape(x))) / scale ** 2)])];
  };
}

/** g of LSQ. */
const gradientShare = (dims: readonly number[]): number => 1 / Math.sqrt(Math.max(1, elementCount(dims.slice(1))) * TOP);
