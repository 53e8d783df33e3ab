/** Scale and zero point of every activation tensor: calibrated range, options and overrides, one set for tensors that share codes. */
import { EngineError } from '../../engine-errors.js';
import { type CodeRange, codeRanges, type QuantizationParameters, roundHalfToEven } from '../quantization-parameters.js';
import type { ActivationType } from './options.js';

export interface ActivationParameters extends QuantizationParameters {
  readonly type: ActivationType;
  /** The real values of the lowest and the highest code. */
  readonly low: number;
  readonly high: number;
}

export const activationCodes = {
  uint8: codeRanges.uint8,
  int8: codeRanges.int8,
  uint16: { min: 0, max: 65_535 },
  int16: { min: -32_768, max: 32_767 },
} as const satisfies Record<ActivationType, CodeRange>;

/** What the options and overrides say about one tensor. */
export interface ActivationScheme {
  readonly type: ActivationType;
  readonly symmetric: boolean;
  readonly powerOfTwo: boolean;
  readonly fixed?: { readonly scale: number; readonly zeroPoint: number };
}

const FLOAT32_MIN_NORMAL = 2 ** -126;

/**
 * scale = (high - low) / (codes.max - codes.min), zero point = round(codes.min - low / scale), the range widened to hold 0
 * (methods.md 2.3). Symmetric: the zero point is the lowest code where nothing is negative, else the middle code
 * (restricted asymmetry of onnxruntime.quantization), so that Relu stays redundant. Power of two: scale = 2^ceil(log2 scale).
 * Throws EngineError `recipe_invalid` for a fixed zero point outside the type.
 */
export function activationParameters(
  range: { readonly low: number; readonly high: number },
  scheme: ActivationScheme,
): ActivationParameters {
  const codes = activationCodes[scheme.type];
  const { scale, zeroPoint } = scheme.fixed ?? chosen(range, scheme, codes);
  if (zeroPoint < codes.min || zeroPoint > codes.max) {
    throw new EngineError(
      'recipe_invalid',
      `The zero point ${zeroPoint} is not a code of ${scheme.type}; choose one in ${codes.min}..${codes.max}.`,
    );
  }
  return { type: scheme.type, scale, zeroPoint, low: scale * (codes.min - zeroPoint), high: scale * (codes.max - zeroPoint) };
}

function chosen(
  range: { low: number; high: number },
  { symmetric, powerOfTwo }: ActivationScheme,
  codes: CodeRange,
): QuantizationParameters {
  const low = Math.min(range.low, 0);
  const high = Math.max(range.high, 0);
  const span = codes.max - codes.min;
  const middle = codes.min + (span + 1) / 2;
  const isTwoSided = symmetric && low < 0;
  const exact = isTwoSided ? Math.max(-low, high) / (codes.max - middle) : (high - low) / span;
  const scale = legalScale(powerOfTwo ? 2 ** Math.ceil(Math.log2(exact)) : exact);
  const zeroPoint = isTwoSided ? middle : roundHalfToEven(codes.min - low / scale);
  return { scale, zeroPoint: Math.max(codes.min, Math.min(codes.max, zeroPoint)) };
}

/** A range without extent (a constant tensor of zeros) gets scale 1. */
function legalScale(scale: number): number {
  const rounded = Math.fround(scale);
  return Number.isFinite(rounded) && rounded >= FLOAT32_MIN_NORMAL ? rounded : 1;
}
