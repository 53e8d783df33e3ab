/** DynamicQuantizeLinear in float32, as the operators that contain it compute it. */
import { float32Tensor, float32Values, type Tensor, tensorOf } from '../ir/index.js';
import { roundHalfToEven } from '../quantization/quantization-parameters.js';

export interface DynamicCodes {
  readonly codes: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor;
}

/**
 * scale = (max - min) / 255 with 0 inside [min, max], zero point = rint(clamp(0 - min / scale)), code = clamp(rint(x / scale) + zero point);
 * the scale is 1 for a tensor of zeros (ONNX DynamicQuantizeLinear).
 */
export function quantizeDynamically(tensor: Tensor): DynamicCodes {
  const values = float32Values(tensor);
  let [min, max] = [0, 0];
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const scale = max === min ? 1 : Math.fround(Math.fround(max - min) / 255);
  const zeroPoint = roundHalfToEven(Math.max(0, Math.min(255, Math.fround(0 - Math.fround(min / scale)))));
  const codes = Uint8Array.from(values, (value) => {
    const code = roundHalfToEven(Math.max(-zeroPoint, Math.min(255 - zeroPoint, Math.fround(value / scale))));
    return code + zeroPoint;
  });
  return {
    codes: tensorOf('uint8', tensor.dims, codes),
    scale: float32Tensor([], [scale]),
    zeroPoint: tensorOf('uint8', [], Uint8Array.of(zeroPoint)),
  };
}
