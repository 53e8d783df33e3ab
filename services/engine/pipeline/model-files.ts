/** The files that a model consists of, their size, and the checksum that names the model. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { externalDataLocations } from '../onnx/index.js';

export interface ModelFiles {
  /** The model file first, then its external data. */
  readonly paths: readonly string[];
  readonly bytes: number;
  /** SHA-256 of the model file, hexadecimal. */
  readonly sha256: string;
}

/** Throws EngineError when the model file is not readable ONNX. */
export async function describeModelFiles(path: string): Promise<ModelFiles> {
  const paths = [path, ...externalDataLocations(path).map((location) => join(dirname(path), location))];
  let bytes = 0;
  for (const file of paths) bytes += (await stat(file)).size;
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return { paths, bytes, sha256: hash.digest('hex') };
}
