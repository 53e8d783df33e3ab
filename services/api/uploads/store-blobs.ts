/** Staged files -> blob store, and away again when their row was not written. */
import type { ApiDeps } from '../deps.js';

export interface StagedContent {
  readonly path: string;
  readonly sha256: string;
}

export type StoreDeps = Pick<ApiDeps, 'blobs' | 'blobRows'>;

/**
 * Stores the files, then runs `record`, which must call the function that it is given once it holds the lock of the contents: bytes
 * that a deletion took away meanwhile are stored again. When `record` fails nothing stays behind.
 */
export async function storeBlobs<T>(
  { blobs, blobRows }: StoreDeps,
  { tenantId, files }: { readonly tenantId: string; readonly files: readonly StagedContent[] },
  record: (ensureBytes: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const ensureBytes = async () => {
    for (const file of files) {
      if ((await blobs.stat(tenantId, file.sha256)) === undefined) await blobs.putFile(tenantId, file.path);
    }
  };
  try {
    await ensureBytes();
    return await record(ensureBytes);
  } catch (error) {
    await removeBlobs({ blobs, blobRows }, tenantId, files);
    throw error;
  }
}

/** Removes the bytes that no row refers to (any more). */
export async function removeBlobs(
  { blobs, blobRows }: StoreDeps,
  tenantId: string,
  files: readonly { readonly sha256: string }[],
): Promise<void> {
  for (const sha256 of new Set(files.map((file) => file.sha256))) {
    await blobRows.removeIfUnreferenced(tenantId, sha256, () => blobs.delete(tenantId, sha256));
  }
}
