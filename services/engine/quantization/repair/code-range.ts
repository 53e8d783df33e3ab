/** The smallest and largest code of the integer types that activations are quantized to. */
import type { DataType } from '../../ir/index.js';
import type { CodeRange } from '../quantization-parameters.js';

const ranges: Readonly<Partial<Record<DataType, CodeRange>>> = {
  uint8: { min: 0, max: 255 },
  int8: { min: -128, max: 127 },
  uint16: { min: 0, max: 65_535 },
  int16: { min: -32_768, max: 32_767 },
};

export function codeRangeOf(type: DataType | undefined): CodeRange | undefined {
  return type && ranges[type];
}
