/** Weights in files beside the model: which locations are allowed, and the byte ranges they become. */
import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { EngineError } from '../engine-errors.js';
import type { ByteSource } from '../ir/index.js';
import type { ExternalDataResolver } from './decode-tensor.js';
import { type FileIdentity, FileRange, identify } from './file-range.js';

/** TensorProto.external_data, parsed. `lengthBytes` is absent when the file does not state it. */
export interface ExternalDataEntry {
  readonly location: string;
  readonly offsetBytes: number;
  readonly lengthBytes?: number;
}

const knownKeys: ReadonlySet<string> = new Set(['location', 'offset', 'length', 'checksum']);
const locationBytesMax = 255;

function invalid(tensor: string, what: string): EngineError {
  return new EngineError('external_data_invalid', `tensor '${tensor}': ${what}`, { tensor });
}

/** Checks external_data entries; the rules are those of the ONNX specification (docs/ExternalData.md), made strict. */
export function parseExternalData(tensor: string, entries: ReadonlyMap<string, string>): ExternalDataEntry {
  for (const key of entries.keys()) if (!knownKeys.has(key)) throw invalid(tensor, `external_data has the unknown key '${key}'.`);
  const location = entries.get('location');
  if (!location) throw invalid(tensor, 'external_data has no location.');
  const problem = problemWithLocation(location);
  if (problem) throw invalid(tensor, `external data location '${location.slice(0, locationBytesMax)}' ${problem}.`);
  const length = byteNumber(tensor, entries, 'length');
  return { location, offsetBytes: byteNumber(tensor, entries, 'offset') ?? 0, ...(length === undefined ? {} : { lengthBytes: length }) };
}

/** What forbids a location; undefined when it may be used. Containment in the folder is checked again on the real path. */
function problemWithLocation(location: string): string | undefined {
  if (location.includes('\0')) return 'contains a NUL character';
  if (location.includes('\\')) return 'contains a backslash';
  if (location.startsWith('/')) return 'is an absolute path';
  if (/^[A-Za-z]:/.test(location)) return 'names a drive';
  if (location.split('/').includes('..')) return 'leaves the folder of the model';
  if (Buffer.byteLength(location) > locationBytesMax) return `is longer than ${locationBytesMax} bytes`;
  if (location.normalize('NFC') !== location) return 'is not in Unicode normal form C';
  return undefined;
}

function byteNumber(tensor: string, entries: ReadonlyMap<string, string>, key: string): number | undefined {
  const text = entries.get(key);
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw invalid(tensor, `external_data ${key} '${text.slice(0, 40)}' is not a number of bytes.`);
  return value;
}

/** Resolves external data below `folder`; each file is opened once, checked, and then read by range when needed. */
export function externalDataIn(folder: string): ExternalDataResolver {
  const files = new Map<string, FileIdentity>();
  return (tensor, entries, byteLength): ByteSource => {
    const { location, offsetBytes, lengthBytes } = parseExternalData(tensor, entries);
    if (lengthBytes !== undefined && lengthBytes !== byteLength) {
      throw invalid(tensor, `its type and shape take ${byteLength} bytes, external_data states ${lengthBytes}.`);
    }
    const file = files.get(location) ?? openBelow(folder, location, tensor);
    files.set(location, file);
    if (!Number.isSafeInteger(offsetBytes + byteLength) || offsetBytes + byteLength > file.sizeBytes) {
      throw invalid(tensor, `bytes ${offsetBytes} to ${offsetBytes + byteLength} lie outside '${location}' (${file.sizeBytes} bytes).`);
    }
    return new FileRange(file, offsetBytes, byteLength);
  };
}

/** For a model that came without a folder. */
export const noExternalData: ExternalDataResolver = (tensor, entries) => {
  const { location } = parseExternalData(tensor, entries);
  throw invalid(tensor, `its data is in '${location}', which was not sent with the model.`);
};

function openBelow(folder: string, location: string, tensor: string): FileIdentity {
  let path: string;
  let root: string;
  try {
    root = realpathSync(folder);
    path = realpathSync(join(root, location));
  } catch (cause) {
    throw new EngineError(
      'external_data_invalid',
      `tensor '${tensor}': the file '${location}' is missing.`,
      { tensor, location },
      { cause },
    );
  }
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep))
    throw invalid(tensor, `external data location '${location}' leaves the folder of the model.`);
  // O_NONBLOCK: opening a FIFO must not hang before fstat can refuse it. O_NOFOLLOW: realpath has resolved every link.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    if (!fstatSync(descriptor).isFile()) throw invalid(tensor, `'${location}' is not a regular file.`);
    return identify(path, descriptor);
  } finally {
    closeSync(descriptor);
  }
}
