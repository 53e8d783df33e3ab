/** From the range of real values to scale and zero point, and from a real value to its code: the arithmetic under every integer method. */

/** The codes that may be used, both ends included. */
export interface CodeRange {
  readonly min: number;
  readonly max: number;
}

export const codeRanges = {
  uint8: { min: 0, max: 255 },
  int8: { min: -128, max: 127 },
  /** Without -128, so that a weight and its negation have codes of one size. */
  int8Symmetric: { min: -127, max: 127 },
} as const satisfies Record<string, CodeRange>;

/** real = scale * (code - zeroPoint). */
export interface QuantizationParameters {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** The smallest normal float32: a smaller scale would be flushed to zero by some processors. */
const FLOAT32_MIN_NORMAL = 2 ** -126;

/** IEEE 754 roundTiesToEven to an integer, as the runtime's rint. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return fraction < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function legalScale(scale: number): number {
  const rounded = Math.fround(scale);
  return rounded >= FLOAT32_MIN_NORMAL ? rounded : 1;
}

/**
 * Scale for values in [-absoluteMax, absoluteMax] with zero point 0, as a float32; 1 when the range is empty.
 * scale = absoluteMax / codes.max (methods.md 2.3, symmetric; the formula of onnxruntime.quantization).
 */
export function symmetricScale(absoluteMax: number, codes: CodeRange = codeRanges.int8Symmetric): number {
  return legalScale(absoluteMax / codes.max);
}

/**
 * Parameters for values in [min, max]; the range is widened to hold 0, which then has an exact code (padding, Relu).
 * scale = (max - min) / (codes.max - codes.min); zero point = round(codes.min - min / scale) (methods.md 2.3).
 */
export function affineParameters(
  range: { readonly min: number; readonly max: number },
  codes: CodeRange = codeRanges.uint8,
): QuantizationParameters {
  const min = Math.min(range.min, 0);
  const max = Math.max(range.max, 0);
  const scale = (max - min) / (codes.max - codes.min);
  if (Math.fround(scale) < FLOAT32_MIN_NORMAL) return { scale: 1, zeroPoint: Math.max(codes.min, Math.min(codes.max, 0)) };
  const zeroPoint = roundHalfToEven(codes.min - min / Math.fround(scale));
  return { scale: Math.fround(scale), zeroPoint: Math.max(codes.min, Math.min(codes.max, zeroPoint)) };
}

/** code = clip(round(value / scale) + zeroPoint), ties to even. */
export function quantizeValue(value: number, { scale, zeroPoint }: QuantizationParameters, codes: CodeRange): number {
  return Math.max(codes.min, Math.min(codes.max, roundHalfToEven(value / scale) + zeroPoint));
}
