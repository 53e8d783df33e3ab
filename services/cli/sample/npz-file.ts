/** Arrays as an .npz file: a ZIP archive of stored .npy members. */
import { crc32 } from 'node:zlib';

export interface NamedArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

/** Enough for samples below 4 GiB (no ZIP64). */
export function npzFile(arrays: readonly NamedArray[]): Uint8Array {
  const members: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const array of arrays) {
    const name = Buffer.from(`${array.name}.npy`);
    const content = npyFile(array);
    const facts = memberFacts(content, name.length);
    const member = Buffer.concat([localHeader(facts), name, content]);
    directory.push(Buffer.concat([directoryHeader(facts, offset), name]));
    members.push(member);
    offset += member.length;
  }
  const entries = Buffer.concat(directory);
  return Buffer.concat([...members, entries, endOfDirectory(arrays.length, entries.length, offset)]);
}

/** NPY format 1.0 (numpy.lib.format): magic, version, little-endian header length, header padded to 64 bytes, data. */
function npyFile({ shape, values }: NamedArray): Uint8Array {
  const type = values instanceof Float32Array ? '<f4' : '<i4';
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dictionary = `{'descr': '${type}', 'fortran_order': False, 'shape': (${dims}), }`;
  const prefix = 10;
  const header = `${dictionary.padEnd(Math.ceil((prefix + dictionary.length + 1) / 64) * 64 - prefix - 1)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([
    Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
    length,
    Buffer.from(header),
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  ]);
}

/** The fields that the local and the central header share (APPNOTE 4.4): version 2.0 to stored, no flags, no time. */
function memberFacts(content: Uint8Array, nameLength: number): Buffer {
  const facts = Buffer.alloc(26);
  facts.writeUInt16LE(20, 0);
  facts.writeUInt16LE(0x21, 8);
  facts.writeUInt32LE(crc32(content), 10);
  facts.writeUInt32LE(content.length, 14);
  facts.writeUInt32LE(content.length, 18);
  facts.writeUInt16LE(nameLength, 22);
  return facts;
}

function localHeader(facts: Buffer): Buffer {
  return Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), facts]);
}

function directoryHeader(facts: Buffer, offset: number): Buffer {
  const rest = Buffer.alloc(14);
  rest.writeUInt32LE(offset, 10);
  return Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), facts, rest]);
}

function endOfDirectory(count: number, bytes: number, offset: number): Buffer {
  const end = Buffer.alloc(18);
  end.writeUInt16LE(count, 4);
  end.writeUInt16LE(count, 6);
  end.writeUInt32LE(bytes, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([Buffer.from('PK\x05\x06', 'latin1'), end]);
}
