/** Blob storage: one port, on local disk or S3. */
import type { StorageConfig } from '../config/index.js';
import type { BlobStore } from './blob-store.js';
import { FilesystemBlobStore } from './filesystem-blob-store.js';

export type { BlobName, BlobStore, ByteRange, PresignOptions, PutOptions, StoredBlob } from './blob-store.js';
export { type StagedFile, StagingArea } from './staging-area.js';

/** The S3 client is loaded only where it is used: it takes a fifth of a second and 30 MB. */
export async function openBlobStore(config: StorageConfig): Promise<BlobStore> {
  if (config.kind === 'filesystem') return new FilesystemBlobStore(config.root, config.minFreeBytes);
  const { S3BlobStore } = await import('./s3-blob-store.js');
  return new S3BlobStore(config);
}
