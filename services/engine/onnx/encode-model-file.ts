/** Writes a model to disk by streaming: weights go from their source to the file in chunks and are never all in memory. */

import { randomUUID } from 'node:crypto';
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EngineError } from '../engine-errors.js';
import type { ByteSource, Model, Tensor } from '../ir/index.js';
import { encodeModelMessage } from './encode-model.js';
import type { ExternalPlacement } from './encode-tensor.js';

export interface EncodeFileOptions {
  /** Total size above which tensors of more than 1 KiB go to `<name>.data` beside the model. Default 1.5e9 (protobuf ends at 2^31 - 1). */
  readonly externalThresholdBytes?: number;
}

export interface EncodedFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** onnxruntime refuses external tensors that shape inference needs, such as shapes; those are small. */
const externalTensorBytesMin = 1024;
/** Page size, so that the runtime can map tensors. */
const alignmentBytes = 4096;
const chunkBytes = 1 << 22;

/**
 * Writes `model` to `path`, and to `<basename>.data` beside it when it is large. Returns the files, the model first.
 * Files appear under their names only when complete, so `path` may be the file that the weights are read from.
 * After replacing a file that weights are read from, those weights can no longer be read through `model`.
 */
export function encodeModelFile(model: Model, path: string, options: EncodeFileOptions = {}): EncodedFile[] {
  const whole = measure(model);
  if (whole <= (options.externalThresholdBytes ?? 1.5e9)) {
    const message = encodeModelMessage(model, () => undefined);
    return commit([{ path, parts: message.parts() }]);
  }
  const layout = new ExternalLayout(`${basename(path)}.data`);
  const message = encodeModelMessage(model, layout.place);
  return commit([
    { path, parts: message.parts() },
    { path: join(dirname(path), layout.location), parts: layout.parts() },
  ]);
}

/** Bytes of the model in one file, or Infinity when protobuf cannot hold it. */
function measure(model: Model): number {
  try {
    return encodeModelMessage(model, () => undefined).byteLength;
  } catch (error) {
    if (error instanceof EngineError && error.code === 'model_unsupported') return Number.POSITIVE_INFINITY;
    throw error;
  }
}

/** Gives each large tensor a place in one data file, in the order in which the encoder meets them; shared tensors get one place. */
class ExternalLayout {
  private readonly offsets = new Map<ByteSource, number>();
  private endBytes = 0;

  constructor(readonly location: string) {}

  readonly place: ExternalPlacement = (tensor: Tensor) => {
    if (tensor.strings || tensor.data.byteLength <= externalTensorBytesMin) return undefined;
    let offsetBytes = this.offsets.get(tensor.data);
    if (offsetBytes === undefined) {
      offsetBytes = Math.ceil(this.endBytes / alignmentBytes) * alignmentBytes;
      this.offsets.set(tensor.data, offsetBytes);
      this.endBytes = offsetBytes + tensor.data.byteLength;
    }
    return { location: this.location, offsetBytes };
  };

  *parts(): Generator<Uint8Array | ByteSource> {
    let at = 0;
    for (const [source, offsetBytes] of this.offsets) {
      yield new Uint8Array(offsetBytes - at);
      yield source;
      at = offsetBytes + source.byteLength;
    }
  }
}

interface PendingFile {
  readonly path: string;
  readonly parts: Iterable<Uint8Array | ByteSource>;
}

/** All files are complete before the first is renamed; the data files before the model that names them. */
function commit(files: readonly PendingFile[]): EncodedFile[] {
  const written: { temporary: string; path: string; sizeBytes: number }[] = [];
  try {
    for (const { path, parts } of files) {
      const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
      const entry = { temporary, path, sizeBytes: 0 };
      written.push(entry);
      entry.sizeBytes = writeParts(temporary, parts);
    }
    for (const { temporary, path } of written.toReversed()) renameSync(temporary, path);
  } catch (error) {
    for (const { temporary } of written) rmSync(temporary, { force: true });
    throw error;
  }
  return written.map(({ path, sizeBytes }) => ({ path, sizeBytes }));
}

function writeParts(path: string, parts: Iterable<Uint8Array | ByteSource>): number {
  const descriptor = openSync(path, 'wx');
  let sizeBytes = 0;
  try {
    for (const part of parts) {
      for (const chunk of part instanceof Uint8Array ? [part] : part.chunks(chunkBytes)) {
        writeFully(descriptor, chunk);
        sizeBytes += chunk.byteLength;
      }
    }
  } finally {
    closeSync(descriptor);
  }
  return sizeBytes;
}

function writeFully(descriptor: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at, bytes.length - at);
}
