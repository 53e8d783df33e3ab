/** Rounding up or down as a number between 0 and 1 that training moves: AdaRound's variables, started from given codes. */
import { attributeOf, float32Tensor, float32Values, type GraphWriter, type Value } from '../../ir/index.js';
import { type ChannelLayout, channelDepth, fromRows, scaleDims, toRows } from '../../layers/channel-layout.js';
import type { Constant } from '../../layers/weight-store.js';
import type { CodeLimits } from '../weight-storage/scale-search.js';

export interface RoundingStart {
  readonly constant: Constant;
  readonly layout: ChannelLayout;
  readonly limits: CodeLimits;
  /** [channels, depth] */
  readonly codes: ArrayLike<number>;
  /** By channel. */
  readonly scales: Float32Array;
}

export interface SoftRounding {
  /** [channels, depth]: the lower one of the two codes that each weight may get. */
  readonly base: Float64Array;
  /** [channels, depth]: V. */
  readonly variables: Float64Array;
}

/** Stretch of the sigmoid: it reaches 0 and 1 at finite V. */
const [HIGHEST, LOWEST] = [1.1, -0.1];
/** How near to the border between its codes a weight may start, and how near to a code: V moves neither at once nor never. */
const [BORDER, END] = [0.05, 0.02];

/**
 * w~ = s (b + h(V)),  h(V) = clip(sigmoid(V) (z - g) + g, 0, 1),  z = 1.1, g = -0.1   (Nagel et al. 2020, equations 22 and 23).
 * b and b + 1 are the code that the weight starts from and its neighbour on the side of the float weight; h starts at the float
 * weight, or as near to it as gives the start code when h is rounded.
 */
export function softRounding({ constant, layout, limits, codes, scales }: RoundingStart): SoftRounding {
  const depth = channelDepth(layout);
  const rows = toRows(float32Values(constant.tensor), layout);
  const base = new Float64Array(rows.length);
  const variables = rows.map((weight, at) => {
    const code = codes[at] ?? 0;
    const place = weight / (scales[Math.floor(at / depth)] ?? 1);
    const lower = Math.max(limits.low, Math.min(limits.high - 1, place > code ? code : code - 1));
    base[at] = lower;
    const share = place - lower;
    return variableOf(code > lower ? Math.max(0.5 + BORDER, Math.min(1 - END, share)) : Math.max(END, Math.min(0.5 - BORDER, share)));
  });
  return { base, variables };
}

/** V with h(V) = share. */
const variableOf = (share: number): number => -Math.log((HIGHEST - LOWEST) / (share - LOWEST) - 1);

/** b, or b + 1 where h(V) is at least a half, which is where V is at least 0. [channels, depth] */
export function hardCodes({ base, variables }: SoftRounding): Int32Array {
  return Int32Array.from(base, (lower, at) => lower + ((variables[at] ?? 0) >= 0 ? 1 : 0));
}

export interface WrittenRounding {
  /** w~, in the shape of the weight. */
  readonly weight: Value;
  /** s by channel, spread over the weight. */
  readonly scale: Value;
  /** Mean of 1 - |2 h - 1|^beta. */
  readonly indecision: Value;
  /** Initializers that hold V and the logarithm of the change of the scales. */
  readonly variables: Value;
  readonly logScales: Value;
}

/** With the logarithm of the scales in hundredths, a step of V of 0.01 is one of the scale of 0.01 %. */
export const LOG_SCALE_UNIT = 0.1;

/** Undefined for layouts whose scales no broadcast spreads over the weight. */
export function writeRounding(write: GraphWriter, start: RoundingStart, beta: Value): WrittenRounding | undefined {
  const { constant, layout, scales } = start;
  const { dims } = constant.tensor;
  const spread = scaleDims(layout, dims);
  if (!spread) return undefined;
  const { base, variables } = softRounding(start);
  const ordered = (rows: Float64Array): Value => write.constant(float32Tensor(dims, fromRows(rows, layout, Float32Array)));
  const v = ordered(variables);
  const logScales = write.constant(float32Tensor(spread, new Float32Array(scales.length)));
  const growth = write.node('Exp', [write.node('Mul', [logScales, write.float(LOG_SCALE_UNIT)])]);
  const scale = write.node('Mul', [write.constant(float32Tensor(spread, scales)), growth]);
  const stretched = write.node('Add', [
    write.node('Mul', [write.node('Sigmoid', [v]), write.float(HIGHEST - LOWEST)]),
    write.float(LOWEST),
  ]);
  const share = write.node('Clip', [stretched, write.float(0), write.float(1)]);
  const decision = write.node('Abs', [write.node('Sub', [write.node('Mul', [share, write.float(2)]), write.float(1)])]);
  const indecision = write.node('Sub', [
    write.float(1),
    write.node('ReduceMean', [write.node('Pow', [decision, beta])], { keepdims: attributeOf.int(0) }),
  ]);
  const weight = write.node('Mul', [write.node('Add', [ordered(base), share]), scale]);
  return { weight, scale, indecision, variables: v, logScales };
}
