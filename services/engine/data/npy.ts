/** Reads the NumPy array format (.npy, versions 1 to 3) from a range of a file, rows at a time. */
import { type FileHandle, open } from 'node:fs/promises';
import { EngineError } from '../engine-errors.js';
import { bytesInMemory, type DataType, dataTypes, elementCount, type Tensor } from '../ir/index.js';

/** dtype.str without the byte order, to element type (NumPy "Array interface": kind and bytes). */
const elementTypes: Readonly<Record<string, DataType>> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
};

const HEADER_BYTES_MAX = 1 << 16;
/** Reading a single small row costs as much as reading many. */
const READ_AHEAD_BYTES = 1 << 20;

export interface NpyHeader {
  readonly dataType: DataType;
  readonly dims: readonly number[];
  readonly bigEndian: boolean;
  /** Where the elements begin, from the start of the array file. */
  readonly dataOffset: number;
}

function invalid(name: string, what: string): EngineError {
  return new EngineError('dataset_invalid', `Array "${name}": ${what}`, { array: name });
}

/**
 * Parses magic, version and the Python dictionary {'descr', 'fortran_order', 'shape'}
 * (NEP 1 "A simple file format for NumPy arrays"). `name` is for messages. Throws EngineError `dataset_invalid`.
 */
export function parseNpyHeader(bytes: Uint8Array, name: string): NpyHeader {
  if (bytes.length < 10 || Buffer.from(bytes.subarray(0, 6)).toString('latin1') !== '\x93NUMPY')
    throw invalid(name, 'it is not in .npy format.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6] ?? 0;
  if (version < 1 || version > 3) throw invalid(name, `.npy version ${version} is not known; versions 1 to 3 are.`);
  const lengthBytes = version === 1 ? 2 : 4;
  const headerLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const dataOffset = 8 + lengthBytes + headerLength;
  if (headerLength > HEADER_BYTES_MAX || dataOffset > bytes.length) throw invalid(name, 'its .npy header is cut off or too long.');
  const header = Buffer.from(bytes.subarray(8 + lengthBytes, dataOffset)).toString('utf8');
  return { ...parseDictionary(header, name), dataOffset };
}

function parseDictionary(header: string, name: string): Omit<NpyHeader, 'dataOffset'> {
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  if (descr === undefined) throw invalid(name, 'arrays with named fields are not supported; save one plain array per input.');
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  if (fortran === undefined || shape === undefined) throw invalid(name, 'its .npy header lacks fortran_order or shape.');
  const dims = shape
    .split(',')
    .map((size) => size.trim().replace(/L$/, ''))
    .filter((size) => size !== '')
    .map(Number);
  if (dims.some((size) => !Number.isSafeInteger(size) || size < 0) || !Number.isSafeInteger(elementCount(dims))) {
    throw invalid(name, `its shape (${shape}) is not usable.`);
  }
  /** With at most one axis longer than 1 both orders are the same bytes. */
  if (fortran === 'True' && dims.filter((size) => size > 1).length > 1) {
    throw invalid(name, 'it is stored in Fortran (column) order; save numpy.ascontiguousarray(array).');
  }
  return { ...parseDescr(descr, name), dims };
}

function parseDescr(descr: string, name: string): Pick<NpyHeader, 'dataType' | 'bigEndian'> {
  const order = descr[0] ?? '';
  const kind = descr.slice(1);
  const dataType = '<>|='.includes(order) ? elementTypes[kind] : undefined;
  if (dataType) return { dataType, bigEndian: order === '>' };
  if (kind.startsWith('O')) throw invalid(name, 'it holds pickled Python objects, which are never loaded; save a numeric array.');
  throw invalid(name, `elements of type ${descr} are not supported; numbers and bools are.`);
}

/** Where the bytes of an array file lie. */
export interface FileRange {
  readonly path: string;
  readonly offset: number;
  readonly byteLength: number;
}

/** An array in a file; its rows are read when they are asked for. Must be closed. */
export class NpyArray {
  /** The block of rows read last; a new block is a new buffer, so that tensors handed out stay as they are. */
  private ahead: { readonly start: number; readonly end: number; readonly bytes: Uint8Array } = {
    start: 0,
    end: 0,
    bytes: new Uint8Array(),
  };

  /** Opened for the first rows: a file may hold more arrays than a process may have files open. */
  private file: Promise<FileHandle> | undefined;

  private constructor(
    readonly name: string,
    readonly dataType: DataType,
    readonly dims: readonly number[],
    private readonly path: string,
    private readonly dataStart: number,
    private readonly bigEndian: boolean,
  ) {}

  /** Throws EngineError `dataset_invalid` when the range does not hold a whole numeric array. */
  static async open(name: string, range: FileRange): Promise<NpyArray> {
    const file = await open(range.path, 'r');
    try {
      const head = Buffer.alloc(Math.min(range.byteLength, 12 + HEADER_BYTES_MAX));
      const { bytesRead } = await file.read(head, 0, head.length, range.offset);
      const { dataType, dims, bigEndian, dataOffset } = parseNpyHeader(head.subarray(0, bytesRead), name);
      const needed = dataOffset + (elementCount(dims) * dataTypes[dataType].bits) / 8;
      if (needed > range.byteLength) throw invalid(name, `its header promises ${needed} bytes, the file has ${range.byteLength}.`);
      return new NpyArray(name, dataType, dims, range.path, range.offset + dataOffset, bigEndian);
    } finally {
      await file.close();
    }
  }

  /** Length of the first axis; 1 for an array without axes. */
  get rowCount(): number {
    return this.dims[0] ?? 1;
  }

  /** Rows `start` to `start + count` of the first axis, little-endian. Neighbouring rows are read ahead. */
  async rows(start: number, count: number): Promise<Tensor> {
    const rowDims = this.dims.slice(1);
    const rowBytes = (elementCount(rowDims) * dataTypes[this.dataType].bits) / 8;
    if (start < this.ahead.start || start + count > this.ahead.end) {
      const end = Math.min(this.rowCount, start + Math.max(count, Math.floor(READ_AHEAD_BYTES / Math.max(1, rowBytes))));
      this.file ??= open(this.path, 'r');
      this.ahead = { start, end, bytes: await this.read(await this.file, start * rowBytes, (end - start) * rowBytes) };
    }
    const offset = (start - this.ahead.start) * rowBytes;
    const bytes = this.ahead.bytes.subarray(offset, offset + count * rowBytes);
    return { dataType: this.dataType, dims: this.dims.length === 0 ? [] : [count, ...rowDims], data: bytesInMemory(bytes) };
  }

  /** All elements, little-endian; nothing of them is kept here. */
  async whole(): Promise<Tensor> {
    const file = await open(this.path, 'r');
    try {
      const bytes = await this.read(file, 0, (elementCount(this.dims) * dataTypes[this.dataType].bits) / 8);
      return { dataType: this.dataType, dims: this.dims, data: bytesInMemory(bytes) };
    } finally {
      await file.close();
    }
  }

  private async read(file: FileHandle, offset: number, byteLength: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(byteLength);
    let filled = 0;
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, this.dataStart + offset + filled);
      if (bytesRead === 0) throw invalid(this.name, 'the file ended early.');
      filled += bytesRead;
    }
    if (this.bigEndian) reverseElements(bytes, dataTypes[this.dataType].bits / 8);
    return bytes;
  }

  async close(): Promise<void> {
    const file = await this.file?.catch(() => undefined);
    await file?.close();
  }
}

function reverseElements(bytes: Uint8Array, width: number): void {
  if (width === 1) return;
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}
