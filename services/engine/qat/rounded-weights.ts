/** Weights that are trained as they will be rounded: a float behind each code, and one scale per output channel. */
import { type Estimator, straightThrough } from '../autodiff/index.js';
import { float32Tensor, float32Values, type Graph, GraphWriter, type Model, NameAuthority, type Node, type Value } from '../ir/index.js';
import { type ChannelLayout, channelDepth, fromRows, scaleDims, toRows } from '../layers/channel-layout.js';

/** A weight with the codes that training starts from. */
export interface RoundedWeight {
  /** Name of the float32 initializer. */
  readonly name: string;
  readonly dims: readonly number[];
  readonly layout: ChannelLayout;
  readonly low: number;
  readonly high: number;
  /** [channels, depth] */
  readonly codes: ArrayLike<number>;
  /** By channel; negative ones turn the codes around. */
  readonly scales: Float32Array;
}

/** Names of constants in the model that is trained. */
export interface TrainedNames {
  /** w and t of each weight. */
  readonly trained: ReadonlySet<string>;
  /** s0 of each. */
  readonly fixed: ReadonlySet<string>;
  /** t by w. */
  readonly logScales: ReadonlyMap<string, string>;
}

/** How far from its code a weight may start, in codes: nearer than the border to the next one. */
const REACH = 0.49;

export const ROUNDING = 'qat/Round';

/**
 * w^ = s r(clip(w / s, low, high)), s = s0 e^t (Esser et al., Learned Step Size Quantization, ICLR 2020; the logarithm keeps the sign
 * of s and makes steps relative). r rounds and hands its gradient on, so that dL/dw = dL/dw^ inside the codes and 0 outside,
 * and ds/dt follows by the chain rule: s (r(v) - v) inside, s low or s high outside.
 * Edits `model`: the initializer becomes w, kept within its code, and its readers read w^.
 */
export function trainRounded(model: Model, weights: readonly RoundedWeight[]): TrainedNames {
  const trained = new Set<string>();
  const fixed = new Set<string>();
  const logScales = new Map<string, string>();
  const names = new NameAuthority(model);
  const write = new GraphWriter(model, names, model.graph, 'qat');
  const first = model.graph.nodes[0];
  const before = new Set(model.graph.nodes);
  for (const weight of weights) {
    const found = [...model.graph.initializers].find(([value]) => value.name === weight.name);
    const spread = scaleDims(weight.layout, weight.dims);
    if (!found || !spread || !first) continue;
    const [value, tensor] = found;
    model.graph.initializers.set(value, float32Tensor(weight.dims, withinCodes(weight, float32Values(tensor))));
    const logScale = write.constant(float32Tensor(spread, new Float32Array(weight.scales.length)));
    const readers = value.uses;
    const start = write.constant(float32Tensor(spread, weight.scales));
    const rounded = roundedValue(write, value, { weight, start, logScale });
    fixed.add(start.name);
    for (const { node, index } of readers) node.setInput(index, rounded);
    trained.add(weight.name).add(logScale.name);
    logScales.set(weight.name, logScale.name);
  }
  moveToFront(model.graph, before);
  return { trained, fixed, logScales };
}

function roundedValue(
  write: GraphWriter,
  value: Value,
  { weight, start, logScale }: { weight: RoundedWeight; start: Value; logScale: Value },
): Value {
  const scale = write.node('Mul', [start, write.node('Exp', [logScale])]);
  const codes = write.node('Clip', [write.node('Div', [value, scale]), write.float(weight.low), write.float(weight.high)]);
  return write.node('Mul', [write.node('Round', [codes]), scale]);
}

/** The nodes that were written read constants only: they go in front of all others. */
function moveToFront(graph: Graph, before: ReadonlySet<Node>): void {
  const written = graph.nodes.filter((node) => !before.has(node));
  graph.reorder([...written, ...graph.nodes.filter((node) => before.has(node))]);
}

/** The float weight, or the nearest to it that rounds to the code. */
function withinCodes({ layout, codes, scales }: RoundedWeight, values: Float32Array): Float32Array {
  const rows = toRows(values, layout);
  const depth = channelDepth(layout);
  const kept = rows.map((value, at) => {
    const scale = scales[Math.floor(at / depth)] ?? 1;
    const code = codes[at] ?? 0;
    return scale * Math.max(code - REACH, Math.min(code + REACH, value / scale));
  });
  return fromRows(kept, layout, Float32Array);
}

/** Codes and scales that training ended with. */
export function roundedCodes(
  weight: RoundedWeight,
  values: Float32Array,
  logScales: Float32Array,
): { codes: Int8Array; scales: Float32Array } {
  const { layout, low, high } = weight;
  const depth = channelDepth(layout);
  const scales = weight.scales.map((scale, channel) => Math.fround(scale * Math.fround(Math.exp(logScales[channel] ?? 0))));
  const codes = toRows(values, layout).map((value, at) => {
    const code = Math.round(value / (scales[Math.floor(at / depth)] ?? 1));
    return Math.max(low, Math.min(high, code));
  });
  return { codes: fromRows(codes, layout, Int8Array), scales };
}

/** r hands its gradient on. */
export const roundingEstimator: Estimator = ({ opType, name }) =>
  opType === 'Round' && name.startsWith(ROUNDING) ? straightThrough : undefined;
