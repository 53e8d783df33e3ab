/** Fits the elements of a data set to the type that a graph input declares, where that loses nothing a user would miss. */
import { EngineError } from '../engine-errors.js';
import { elementReaders, elementWriters } from '../ir/element-access.js';
import { bytesInMemory, type DataType, dataTypes, type Tensor } from '../ir/index.js';

const floats: readonly DataType[] = ['float16', 'float32', 'float64'];
const integers: readonly DataType[] = ['bool', 'int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64'];
/** Integers that float32 holds exactly (24 bit significand); float16 holds those of 8 bits (11 bit significand). */
const exactInFloat32: readonly DataType[] = ['bool', 'int8', 'uint8', 'int16', 'uint16'];
const exactInFloat16: readonly DataType[] = ['bool', 'int8', 'uint8'];

/**
 * Which casts are made without asking: between floats (rounding to nearest, as float64 is what NumPy makes by default),
 * between integers (a value out of range is an error when it is read), and small integers to floats.
 * Never floats to integers, nor wide integers to floats.
 */
export function canCast(from: DataType, to: DataType): boolean {
  if (from === to) return true;
  if (floats.includes(to)) {
    if (floats.includes(from)) return true;
    if (to === 'float64') return integers.includes(from) && dataTypes[from].bits <= 32;
    return (to === 'float32' ? exactInFloat32 : exactInFloat16).includes(from);
  }
  return integers.includes(to) && integers.includes(from);
}

/** Throws EngineError `dataset_invalid` naming `array` when a value does not fit `to`; TypeError when `canCast` says no. */
export function castElements(tensor: Tensor, to: DataType, array: string): Tensor {
  if (tensor.dataType === to) return tensor;
  const read = elementReaders[tensor.dataType];
  const write = elementWriters[to];
  if (!read || !write || !canCast(tensor.dataType, to)) throw new TypeError(`castElements: ${tensor.dataType} to ${to}`);
  const source = tensor.data.read();
  const sourceView = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const sourceWidth = dataTypes[tensor.dataType].bits / 8;
  const width = dataTypes[to].bits / 8;
  const count = source.byteLength / sourceWidth;
  const bytes = new Uint8Array(count * width);
  const view = new DataView(bytes.buffer);
  const range = integerRange(to);
  for (let index = 0; index < count; index++) {
    const value = read(sourceView, index * sourceWidth);
    if (range && (value < range.low || value > range.high)) {
      throw new EngineError('dataset_invalid', `Array "${array}": the value ${value} does not fit ${to}, which the model's input takes.`, {
        array,
      });
    }
    write(view, index * width, value);
  }
  return { dataType: to, dims: tensor.dims, data: bytesInMemory(bytes) };
}

/** Smallest and largest value; null for floats. Comparing bigint with number is exact. */
function integerRange(to: DataType): { readonly low: bigint; readonly high: bigint } | null {
  if (floats.includes(to)) return null;
  if (to === 'bool') return { low: 0n, high: 1n };
  const bits = BigInt(dataTypes[to].bits);
  return to.startsWith('int') ? { low: -(1n << (bits - 1n)), high: (1n << (bits - 1n)) - 1n } : { low: 0n, high: (1n << bits) - 1n };
}
