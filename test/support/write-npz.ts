/** Writes .npy and .npz files for tests, as numpy.save, numpy.savez and numpy.savez_compressed do. */
import { writeFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { ZipFile } from 'yazl';

export interface ArraySpec {
  /** NumPy dtype.str, e.g. '<f4'. */
  readonly descr: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  readonly fortran?: boolean;
}

/** Version 1.0 of the format: magic, version, length, dictionary padded to 64 bytes, elements. */
export function npyBytes({ descr, shape, bytes, fortran = false }: ArraySpec): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dictionary = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const header = Buffer.alloc(10);
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(length, 8);
  return Buffer.concat([header, Buffer.from(`${dictionary.padEnd(length - 1)}\n`), bytes]);
}

export async function writeNpz(path: string, arrays: Readonly<Record<string, ArraySpec>>, { compress = false } = {}): Promise<void> {
  const zip = new ZipFile();
  /** NumPy writes any name ("x:0"); yazl refuses some, which go in under a stand-in of the same length. */
  const standIns = new Map(
    Object.keys(arrays).map((name, index) => [name, /^\w+$/.test(name) ? name : `${index}`.padEnd(name.length, '~')]),
  );
  for (const [name, array] of Object.entries(arrays)) zip.addBuffer(npyBytes(array), `${standIns.get(name)}.npy`, { compress });
  zip.end();
  let bytes: Buffer = await buffer(zip.outputStream);
  for (const [name, standIn] of standIns) {
    if (standIn !== name) bytes = Buffer.from(bytes.toString('latin1').replaceAll(`${standIn}.npy`, `${name}.npy`), 'latin1');
  }
  await writeFile(path, bytes);
}

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

export const float32Array = (shape: readonly number[], values: ArrayLike<number>): ArraySpec => ({
  descr: '<f4',
  shape,
  bytes: bytesOf(Float32Array.from(values)),
});

export const int64Array = (shape: readonly number[], values: readonly number[]): ArraySpec => ({
  descr: '<i8',
  shape,
  bytes: bytesOf(BigInt64Array.from(values, BigInt)),
});
