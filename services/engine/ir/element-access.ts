/** Single elements of raw tensor bytes: readers and writers by element type, little-endian. */
import { float16ToNumber, numberToFloat16 } from './half-precision.js';
import type { DataType } from './tensor.js';

export type ElementReader = (view: DataView, at: number) => number | bigint;
export type ElementWriter = (view: DataView, at: number, value: number | bigint) => void;

/** Types whose elements fill whole bytes and are numbers; int64 and uint64 come as bigint, all others as number. */
export const elementReaders: Readonly<Partial<Record<DataType, ElementReader>>> = {
  float16: (view, at) => float16ToNumber(view.getUint16(at, true)),
  float32: (view, at) => view.getFloat32(at, true),
  float64: (view, at) => view.getFloat64(at, true),
  bool: (view, at) => view.getUint8(at),
  int8: (view, at) => view.getInt8(at),
  uint8: (view, at) => view.getUint8(at),
  int16: (view, at) => view.getInt16(at, true),
  uint16: (view, at) => view.getUint16(at, true),
  int32: (view, at) => view.getInt32(at, true),
  uint32: (view, at) => view.getUint32(at, true),
  int64: (view, at) => view.getBigInt64(at, true),
  uint64: (view, at) => view.getBigUint64(at, true),
};

/** Floats are rounded to nearest; integers must be whole and in range, otherwise they wrap. */
export const elementWriters: Readonly<Partial<Record<DataType, ElementWriter>>> = {
  float16: (view, at, value) => view.setUint16(at, numberToFloat16(Number(value)), true),
  float32: (view, at, value) => view.setFloat32(at, Number(value), true),
  float64: (view, at, value) => view.setFloat64(at, Number(value), true),
  bool: (view, at, value) => view.setUint8(at, Number(value)),
  int8: (view, at, value) => view.setInt8(at, Number(value)),
  uint8: (view, at, value) => view.setUint8(at, Number(value)),
  int16: (view, at, value) => view.setInt16(at, Number(value), true),
  uint16: (view, at, value) => view.setUint16(at, Number(value), true),
  int32: (view, at, value) => view.setInt32(at, Number(value), true),
  uint32: (view, at, value) => view.setUint32(at, Number(value), true),
  int64: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  uint64: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
};
