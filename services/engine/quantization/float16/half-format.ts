/** The two 16 bit floats: what they hold, and how a float32 constant is written in them. */
import { float16ToNumber, numberToFloat16 } from '../../ir/half-precision.js';
import { dataTypes, float32Values, type Tensor, tensorOf } from '../../ir/index.js';

export type HalfType = 'float16' | 'bfloat16';

export interface HalfFormat {
  readonly type: HalfType;
  /** TensorProto.DataType. */
  readonly code: number;
  readonly max: number;
  /** Smallest positive value. */
  readonly min: number;
  /** Largest relative error of a value in the normal range: half a unit in the last place. */
  readonly roundOff: number;
  /** Bits of the nearest value, ties to even. */
  encode(value: number): number;
  decode(bits: number): number;
}

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** bfloat16 is the upper half of a float32. Rounded to nearest, ties to even; NaN keeps a bit of its payload. */
function numberToBfloat16(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0] ?? 0;
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function bfloat16ToNumber(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratchFloat[0] ?? 0;
}

export const halfFormats: Readonly<Record<HalfType, HalfFormat>> = {
  float16: {
    ...{ type: 'float16', code: dataTypes.float16.code, max: 65_504, min: 2 ** -24, roundOff: 2 ** -11 },
    ...{ encode: numberToFloat16, decode: float16ToNumber },
  },
  bfloat16: {
    ...{ type: 'bfloat16', code: dataTypes.bfloat16.code, max: bfloat16ToNumber(0x7f7f), min: 2 ** -133, roundOff: 2 ** -9 },
    ...{ encode: numberToBfloat16, decode: bfloat16ToNumber },
  },
};

export interface HalfConstant {
  readonly tensor: Tensor;
  /** Values beyond the largest of the format, set to it. Infinity is meant and stays. */
  readonly clamped: number;
  /** Values that would have become 0, set to the smallest of the format: a divisor or an epsilon must not vanish. */
  readonly raised: number;
}

/** The float32 constant in the format: +-max for larger values, +-min for smaller ones, as onnxconverter-common does it. */
export function halfConstant(tensor: Tensor, format: HalfFormat): HalfConstant {
  const values = float32Values(tensor);
  const bits = new Uint16Array(values.length);
  let clamped = 0;
  let raised = 0;
  for (const [at, value] of values.entries()) {
    const size = Math.abs(value);
    let kept = value;
    if (size > format.max && size !== Number.POSITIVE_INFINITY) {
      kept = Math.sign(value) * format.max;
      clamped += 1;
    } else if (size > 0 && size < format.min) {
      kept = Math.sign(value) * format.min;
      raised += 1;
    }
    bits[at] = format.encode(kept);
  }
  return { tensor: tensorOf(format.type, tensor.dims, bits), clamped, raised };
}
