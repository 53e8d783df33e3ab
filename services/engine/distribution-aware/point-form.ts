/** How a point is written into a graph: observed as it is, rounded by numbers that are fed, or as the codes of the artifact. */
import { float32Tensor, type GraphWriter, type Tensor, tensorOf, type Value } from '../ir/index.js';
import type { Point } from './quantization-plan.js';

/** Real numbers that the lowest and the highest code stand near, by channel. */
export interface PointRange {
  readonly low: Float32Array;
  readonly high: Float32Array;
}

/** real = scale (code - zeroPoint), codes 0 to 2^bits - 1; by channel. */
export interface PointCodes {
  readonly bits: number;
  readonly scales: Float32Array;
  readonly zeroPoints: Uint8Array;
}

export interface PointForm {
  /** What is kept of a value, here or in a loop: its codes, or its rounded numbers. */
  store(write: GraphWriter, point: Point, value: Value): Value;
  load(write: GraphWriter, point: Point, stored: Value): Value;
  readonly storedType: 'float32' | 'uint8';
  /** Gets the values of a point as they were before rounding, [..., channels], in the main graph. */
  readonly observe?: (point: Point, value: Value) => void;
}

/** Scale and zero point that hold [low, high] and have a code for 0; scale = (high - low) / (2^bits - 1) (methods.md 2.3). */
export function codesOf({ low, high }: PointRange, bits: number): PointCodes {
  const top = 2 ** bits - 1;
  const scales = new Float32Array(low.length);
  const zeroPoints = new Uint8Array(low.length);
  for (let channel = 0; channel < low.length; channel += 1) {
    const least = Math.min(low[channel] ?? 0, 0);
    const most = Math.max(high[channel] ?? 0, 0);
    const scale = Math.fround((most - least) / top);
    scales[channel] = scale >= 2 ** -100 ? scale : 1;
    zeroPoints[channel] = Math.max(0, Math.min(top, Math.round(-least / (scales[channel] ?? 1))));
  }
  return { bits, scales, zeroPoints };
}

/** Leaves every value as it is, and shows it. */
export function observedForm(observe: (point: Point, value: Value) => void): PointForm {
  return { store: (_write, _point, value) => value, load: (_write, _point, stored) => stored, storedType: 'float32', observe };
}

/** What one point is rounded by, as values of the graph. */
export interface RoundingValues {
  readonly scale: Value;
  readonly zeroPoint: Value;
  /** 2^bits - 1, a scalar. */
  readonly top: Value;
}

/**
 * Rounds by float arithmetic, operation by operation what CodeForm writes:
 * y = (clip(round(x / scale + zeroPoint), 0, 2^bits - 1) - zeroPoint) scale.
 */
export class ArithmeticForm implements PointForm {
  readonly storedType = 'float32';
  private readonly points = new Map<string, RoundingValues>();
  private readonly none: Value;

  constructor(
    main: GraphWriter,
    private readonly declare: (point: Point) => RoundingValues,
  ) {
    this.none = main.float(0);
  }

  store(write: GraphWriter, point: Point, value: Value): Value {
    const { scale, zeroPoint, top } = this.valuesOf(point);
    const steps = write.node('Add', [write.node('Div', [value, scale]), zeroPoint]);
    const code = write.node('Round', [write.node('Clip', [steps, this.none, top])]);
    return write.node('Mul', [write.node('Sub', [code, zeroPoint]), scale]);
  }

  load(_write: GraphWriter, _point: Point, stored: Value): Value {
    return stored;
  }

  /** undefined for a point that nothing was rounded at. */
  known(id: string): RoundingValues | undefined {
    return this.points.get(id);
  }

  private valuesOf(point: Point): RoundingValues {
    const known = this.points.get(point.id) ?? this.declare(point);
    this.points.set(point.id, known);
    return known;
  }
}

/** Rounding by graph inputs, so that one session serves every range and every width. */
export function fedForm(main: GraphWriter): ArithmeticForm {
  return new ArithmeticForm(main, ({ id, channels }) => {
    const input = (suffix: string, shape: readonly number[]): Value => {
      const value = main.value(`${id} ${suffix}`, { kind: 'tensor', dataType: 'float32', shape });
      main.model.graph.inputs.push(value);
      return value;
    };
    return { scale: input('scale', [channels]), zeroPoint: input('zero point', [channels]), top: input('top', []) };
  });
}

/** The feeds that `fedForm` takes for one point. */
export function roundingFeeds({ scale, zeroPoint, top }: RoundingValues, { bits, scales, zeroPoints }: PointCodes): [string, Tensor][] {
  return [
    [scale.name, float32Tensor([scales.length], scales)],
    [zeroPoint.name, float32Tensor([scales.length], Float32Array.from(zeroPoints))],
    [top.name, float32Tensor([], [2 ** bits - 1])],
  ];
}

/**
 * QuantizeLinear and DequantizeLinear of scale 1 around a scale and a zero point by channel: the runtime fuses pairs with a scale
 * by channel into integer products that then refuse to run (MatMulIntegerToFloat, onnxruntime 1.30), and rounds Softmax twice.
 * What a loop carries from step to step are the codes themselves, in bytes.
 */
export class CodeForm implements PointForm {
  readonly storedType = 'uint8';
  private readonly constants = new Map<string, { readonly scale: Value; readonly zeroPoint: Value | null; readonly top: Value | null }>();
  private readonly unit: readonly [Value, Value];

  constructor(
    private readonly main: GraphWriter,
    private readonly codes: (point: Point) => PointCodes,
  ) {
    this.unit = [main.float(1), main.constant(tensorOf('uint8', [], Uint8Array.of(0)))];
  }

  store(write: GraphWriter, point: Point, value: Value): Value {
    const { scale, zeroPoint, top } = this.declared(point);
    const steps = write.node('Div', [value, scale]);
    const shifted = zeroPoint ? write.node('Add', [steps, zeroPoint]) : steps;
    return write.node('QuantizeLinear', [top ? write.node('Clip', [shifted, this.main.float(0), top]) : shifted, ...this.unit]);
  }

  load(write: GraphWriter, point: Point, stored: Value): Value {
    const { scale, zeroPoint } = this.declared(point);
    const code = write.node('DequantizeLinear', [stored, ...this.unit]);
    return write.node('Mul', [zeroPoint ? write.node('Sub', [code, zeroPoint]) : code, scale]);
  }

  private declared(point: Point) {
    const known = this.constants.get(point.id);
    if (known) return known;
    const { bits, scales, zeroPoints } = this.codes(point);
    const made = {
      scale: this.main.constant(float32Tensor([scales.length], scales)),
      zeroPoint: zeroPoints.some((zero) => zero > 0)
        ? this.main.constant(float32Tensor([scales.length], Float32Array.from(zeroPoints)))
        : null,
      top: bits < 8 ? this.main.float(2 ** bits - 1) : null,
    };
    this.constants.set(point.id, made);
    return made;
  }
}
