/** An uploaded archive -> the files of one model in a fresh folder: the .onnx and what lies at or below its place. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { archiveInvalid, SizeBudget } from './archive-limits.js';
import { tarEntries } from './tar-entries.js';
import { type ArchiveFile, zipEntries } from './zip-entries.js';

export type ArchiveFormat = 'zip' | 'tar' | 'tar.gz';

export interface UnpackedFile {
  /** Relative to the folder of the .onnx. */
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

export interface UnpackedModel {
  readonly folder: string;
  /** Name of the .onnx in the folder. */
  readonly modelName: string;
  readonly files: readonly UnpackedFile[];
}

const zipMagic = Buffer.from('PK\x03\x04', 'latin1');
const emptyZipMagic = Buffer.from('PK\x05\x06', 'latin1');
const gzipMagic = Buffer.from([0x1f, 0x8b]);
const tarMagicOffset = 257;

/** By content, not by name; null for anything that is not an archive. */
export async function archiveFormat(file: string): Promise<ArchiveFormat | null> {
  const handle = await open(file, 'r');
  try {
    const head = Buffer.alloc(262);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    if (head.subarray(0, 4).equals(zipMagic) || head.subarray(0, 4).equals(emptyZipMagic)) return 'zip';
    if (head.subarray(0, 2).equals(gzipMagic)) return 'tar.gz';
    return bytesRead === head.length && head.toString('latin1', tarMagicOffset) === 'ustar' ? 'tar' : null;
  } finally {
    await handle.close();
  }
}

export interface UnpackOptions {
  readonly format: ArchiveFormat;
  /** Must exist; holds the result. */
  readonly folder: string;
  readonly maxBytes: number;
}

/** @throws AppError(archive_invalid, payload_too_large) */
export async function unpackArchive(archive: string, { format, folder, maxBytes }: UnpackOptions): Promise<UnpackedModel> {
  const budget = new SizeBudget(maxBytes);
  const entries = format === 'zip' ? zipEntries(archive, budget) : tarEntries(archive, { gzip: format === 'tar.gz', budget });
  const written: (UnpackedFile & { readonly stagedAt: string })[] = [];
  for await (const entry of entries) {
    const stagedAt = path.join(folder, `entry-${written.length}`);
    written.push({ ...(await writeEntry(entry, stagedAt)), stagedAt });
  }
  const main = mainModel(written.map((file) => file.path));
  const root = main.includes('/') ? main.slice(0, main.lastIndexOf('/') + 1) : '';
  const target = path.join(folder, 'bundle');
  const files: UnpackedFile[] = [];
  for (const file of written.filter((each) => each.path.startsWith(root))) {
    const relative = file.path.slice(root.length);
    await mkdir(path.dirname(path.join(target, relative)), { recursive: true });
    await rename(file.stagedAt, path.join(target, relative)).catch(() => {
      throw archiveInvalid(`${JSON.stringify(relative.slice(0, 80))} is both a file and a folder.`);
    });
    files.push({ path: relative, sha256: file.sha256, bytes: file.bytes });
  }
  return { folder: target, modelName: main.slice(root.length), files };
}

async function writeEntry({ path: name, content }: ArchiveFile, stagedAt: string): Promise<UnpackedFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(content, measure, createWriteStream(stagedAt, { flags: 'wx', mode: 0o600 }));
  return { path: name, sha256: hash.digest('hex'), bytes };
}

/** The only .onnx, or the one called model.onnx when there are several. */
function mainModel(paths: readonly string[]): string {
  const models = paths.filter((name) => name.toLowerCase().endsWith('.onnx'));
  const named = models.filter((name) => path.basename(name).toLowerCase() === 'model.onnx');
  const [main] = models.length === 1 ? models : named;
  if (main === undefined || (models.length > 1 && named.length > 1)) {
    throw archiveInvalid(
      models.length === 0 ? 'The archive has no .onnx file.' : 'The archive has several .onnx files; call the main one model.onnx.',
    );
  }
  return main;
}
