/** From int32 sums to codes or floats, in float32 and in the order of MLAS, so that every bit agrees. */
import { roundHalfToEven } from '../quantization/quantization-parameters.js';

const ranges = { uint8: { min: 0, max: 255 }, int8: { min: -128, max: 127 } } as const;

export type CodeType = keyof typeof ranges;

export interface Requantization {
  /** One per column, or one. */
  readonly scales: Float32Array;
  /** int32, one per column; added before scaling. */
  readonly bias: Int32Array | null;
  readonly zeroPoint: number;
  readonly type: CodeType;
}

/** code = rint(clamp(float(sum + bias) * scale, min - zp, max - zp)) + zp (MlasRequantizeOutput). */
export function requantize(sums: Int32Array, columns: number, { scales, bias, zeroPoint, type }: Requantization): Uint8Array | Int8Array {
  const { min, max } = ranges[type];
  const codes = type === 'uint8' ? new Uint8Array(sums.length) : new Int8Array(sums.length);
  for (let at = 0; at < sums.length; at += 1) {
    const column = at % columns;
    const sum = ((sums[at] ?? 0) + (bias?.[column] ?? 0)) | 0;
    const value = Math.fround(Math.fround(sum) * (scales[scales.length === 1 ? 0 : column] ?? 0));
    codes[at] = roundHalfToEven(Math.max(min - zeroPoint, Math.min(max - zeroPoint, value))) + zeroPoint;
  }
  return codes;
}

/** value = float(sum) * scale + bias, each operation rounded to float32 (MLAS_QGEMM_SCALE_BIAS_OUTPUT_PROCESSOR). */
export function scaleToFloat(sums: Int32Array, columns: number, scales: Float32Array, bias: Float32Array | null): Float32Array {
  return Float32Array.from(sums, (sum, at) => {
    const column = at % columns;
    const value = Math.fround(Math.fround(sum) * (scales[scales.length === 1 ? 0 : column] ?? 0));
    return bias ? Math.fround(value + (bias[column] ?? 0)) : value;
  });
}
