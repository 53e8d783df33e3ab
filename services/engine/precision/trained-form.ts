/** A lowered model written so that it can be trained: every rounding as float arithmetic, a float weight behind each code. */
import { type Estimator, straightThrough } from '../autodiff/index.js';
import {
  float32Tensor,
  float32Values,
  intAttribute,
  integerValues,
  type Model,
  NameAuthority,
  Node,
  type Tensor,
  Value,
} from '../ir/index.js';
import { type MapCodes, weightLimit } from './narrow-codes.js';
import { roundingNodesOf } from './rounded-maps.js';

const STEM = 'trained';
/** Of a step: what lies so far outside still rounds to the outermost code. The gradient of a clip is 0 at its bounds, and weights that start at an outermost code would stay there for good. */
const BEYOND = 0.49;

/** What a scale is trained as: s = s0 e^t; t is missing for one that stays. */
export interface TrainedScale {
  readonly start: Float32Array;
  /** Name of t. */
  readonly logScale: string | null;
}

/** How the codes of a weight lie: scale of element i is scales[floor(i / inner) mod count]. */
export interface CodeLayout {
  readonly inner: number;
  readonly count: number;
}

/** Nodes that hand their gradient on. */
export const roundingEstimator: Estimator = ({ opType, name }) =>
  opType === 'Round' && name.startsWith(`${STEM}/`) ? straightThrough : undefined;

/**
 * y = s r(clip(x / s, low - .49, high + .49)) in place of QuantizeLinear and DequantizeLinear, which computes the same; low and high are
 * codes counted from that of 0. With r handing its gradient on (straight-through), dL/dx = g inside and 0 outside, and the gradient of s is that of
 * learned step sizes (Esser et al., ICLR 2020); its logarithm keeps the sign and makes steps relative. Edits `model`.
 */
export class TrainedForm {
  private readonly names: NameAuthority;
  private readonly fixed = new Set<string>();
  readonly logScales = new Set<string>();
  /** By name of the map, or of the initializer with the codes of a weight. */
  readonly scales = new Map<string, TrainedScale>();
  /** Name of the float weight, by that of its codes. */
  readonly floats = new Map<string, string>();

  constructor(
    private readonly model: Model,
    private readonly keepsScale: (tensor: string) => boolean,
  ) {
    this.names = new NameAuthority(model);
  }

  roundMap(name: string, codes: MapCodes): void {
    const { clip, quantize, dequantize } = roundingNodesOf(this.model, name);
    const from = (clip ?? quantize).inputs[0] as Value;
    const scale = this.scale(name, dequantize, float32Tensor([], [codes.scale]));
    this.round(dequantize, { from, scale, low: -codes.zeroPoint, high: codes.levels - 1 - codes.zeroPoint });
    this.model.graph.remove([dequantize, quantize, ...(clip ? [clip] : [])]);
  }

  roundWeight(initializer: string, bits: number): void {
    const { graph } = this.model;
    const { codes, dequantize, scales } = storedWeight(this.model, initializer);
    const { inner, count } = codeLayout(dequantize, codes.dims, scales);
    const start = float32Values(scales);
    const real = Float32Array.from(integerValues(codes), (code, at) => code * (start[Math.floor(at / inner) % count] ?? 0));
    const float = graph.addInitializer(this.names.valueName(`${initializer}_float`), float32Tensor(codes.dims, real));
    this.floats.set(initializer, float.name);
    const dims = count === 1 ? [] : codes.dims.map((_, axis) => (axis === axisOf(dequantize) ? count : 1));
    const scale = this.scale(initializer, dequantize, float32Tensor(dims, start));
    this.round(dequantize, { from: float, scale, low: -weightLimit(bits), high: weightLimit(bits) });
    graph.remove([dequantize]);
  }

  /** All float constants of the model, weights and logarithms of scales among them. */
  trainable(): string[] {
    return [...this.model.graph.initializers].flatMap(([{ name }, { dataType }]) =>
      dataType === 'float32' && !this.fixed.has(name) ? [name] : [],
    );
  }

  private scale(tensor: string, before: Node, start: Tensor): Value {
    const fixed = this.constant('scale', start);
    this.fixed.add(fixed.name);
    const values = float32Values(start);
    if (this.keepsScale(tensor)) {
      this.scales.set(tensor, { start: values, logScale: null });
      return fixed;
    }
    const logScale = this.constant('log_scale', float32Tensor(start.dims, new Float32Array(values.length)));
    this.logScales.add(logScale.name);
    this.scales.set(tensor, { start: values, logScale: logScale.name });
    return this.node(before, 'Mul', [fixed, this.node(before, 'Exp', [logScale])]);
  }

  /** What `dequantize` made is made by arithmetic, which stands in front of it. */
  private round(
    dequantize: Node,
    { from, scale, low, high }: { readonly from: Value; readonly scale: Value; readonly low: number; readonly high: number },
  ): void {
    const bounds = [low - BEYOND, high + BEYOND].map((bound) => this.constant('bound', float32Tensor([], [bound])));
    for (const { name } of bounds) this.fixed.add(name);
    const steps = this.node(dequantize, 'Div', [from, scale]);
    const codes = this.node(dequantize, 'Round', [this.node(dequantize, 'Clip', [steps, ...bounds])]);
    const output = dequantize.outputs[0] as Value;
    dequantize.setOutput(0, new Value(this.names.valueName(`${STEM}/unread`)));
    this.node(dequantize, 'Mul', [codes, scale], output);
  }

  private constant(suffix: string, tensor: Tensor): Value {
    return this.model.graph.addInitializer(this.names.valueName(`${STEM}/${suffix}`), tensor);
  }

  private node(before: Node, opType: string, inputs: readonly Value[], made?: Value): Value {
    const output = made ?? new Value(this.names.valueName(`${STEM}/${opType}`));
    this.model.graph.insertBefore(before, new Node({ opType, name: this.names.nodeName(`${STEM}/${opType}`), inputs, outputs: [output] }));
    return output;
  }
}

export interface StoredWeight {
  readonly value: Value;
  readonly codes: Tensor;
  readonly dequantize: Node;
  readonly scale: Value;
  readonly scales: Tensor;
}

/** The initializer of this name with the DequantizeLinear behind it. */
export function storedWeight({ graph }: Model, initializer: string): StoredWeight {
  const [value, codes] = [...graph.initializers].find(([{ name }]) => name === initializer) ?? [];
  const dequantize = value?.uses[0]?.node;
  const scale = dequantize?.inputs[1];
  const scales = scale && graph.initializers.get(scale);
  if (!value || !codes || !dequantize || !scale || !scales) throw new Error(`the lowered model has no weight "${initializer}"`);
  return { value, codes, dequantize, scale, scales };
}

const axisOf = (dequantize: Node): number => intAttribute(dequantize, 'axis', 1);

export function codeLayout(dequantize: Node, dims: readonly number[], { dims: [count = 1] }: Tensor): CodeLayout {
  return { count, inner: dims.slice(axisOf(dequantize) + 1).reduce((product, size) => product * size, 1) };
}
