/** The header of a NumPy array file (.npy, NEP 1): element type and shape, without a look at the elements. */
import { AppError } from '#contracts';

export interface NpyHeader {
  /** numpy's name, e.g. float32. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Length of the whole array file that this header promises. */
  readonly totalBytes: number;
}

/** Enough for every header that numpy writes for a plain array. */
export const npyHeaderBytesMax = 65_536 + 12;

const magic = Buffer.from('\x93NUMPY', 'latin1');
const names: Readonly<Record<string, string>> = { f: 'float', i: 'int', u: 'uint' };
const sizes: Readonly<Record<string, readonly number[]>> = { f: [2, 4, 8], i: [1, 2, 4, 8], u: [1, 2, 4, 8], b: [1] };

export function datasetInvalid(array: string, what: string): AppError {
  return new AppError('dataset_invalid', `Array "${array.slice(0, 100)}": ${what}`);
}

/** @throws AppError(dataset_invalid) for anything but a plain numeric or bool array in C order; pickled objects above all */
export function parseNpyHeader(bytes: Buffer, array: string): NpyHeader {
  if (bytes.length < 12 || !bytes.subarray(0, 6).equals(magic)) throw datasetInvalid(array, 'it is not in .npy format.');
  const version = bytes[6] ?? 0;
  if (version < 1 || version > 3) throw datasetInvalid(array, `.npy version ${version} is not known; versions 1 to 3 are.`);
  const lengthBytes = version === 1 ? 2 : 4;
  const dataOffset = 8 + lengthBytes + bytes.readUIntLE(8, lengthBytes);
  if (dataOffset > bytes.length) throw datasetInvalid(array, 'its header is cut off or too long.');
  const header = bytes.toString('utf8', 8 + lengthBytes, dataOffset);
  const shape = shapeOf(header, array);
  const { dtype, itemBytes } = elementType(header, array);
  const totalBytes = dataOffset + shape.reduce((product, size) => product * size, itemBytes);
  if (!Number.isSafeInteger(totalBytes)) throw datasetInvalid(array, 'its shape is too large.');
  return { dtype, shape, totalBytes };
}

function elementType(header: string, array: string): { dtype: string; itemBytes: number } {
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  if (descr === undefined) throw datasetInvalid(array, 'arrays with named fields are not supported; save one plain array per input.');
  const [, kind = '', size = ''] = /^[<>|=]?([a-zA-Z])(\d*)$/.exec(descr) ?? [];
  if (kind === 'O') throw datasetInvalid(array, 'it holds pickled Python objects, which are never loaded; save a numeric array.');
  const itemBytes = Number(size);
  if (!(sizes[kind]?.includes(itemBytes) ?? false)) {
    throw datasetInvalid(array, `elements of type ${descr.slice(0, 20)} are not supported; numbers and bools are.`);
  }
  return { dtype: kind === 'b' ? 'bool' : `${names[kind] ?? kind}${itemBytes * 8}`, itemBytes };
}

function shapeOf(header: string, array: string): number[] {
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const text = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  if (fortran === undefined || text === undefined) throw datasetInvalid(array, 'its header lacks fortran_order or shape.');
  const parts = text.split(',').map((part) => part.trim().replace(/L$/, ''));
  const shape = parts.filter((part) => part !== '').map(Number);
  if (shape.some((size) => !Number.isSafeInteger(size) || size < 0)) throw datasetInvalid(array, 'its shape is not usable.');
  // With at most one axis longer than 1 both orders are the same bytes.
  if (fortran === 'True' && shape.filter((size) => size > 1).length > 1) {
    throw datasetInvalid(array, 'it is stored in Fortran (column) order; save numpy.ascontiguousarray(array).');
  }
  return shape;
}
