/** Blob storage: one port, on local disk or S3. */
import type { StorageConfig } from '../config/index.js';
import type { BlobStore } from './blob-store.js';
import { FilesystemBlobStore } from './filesystem-blob-store.js';
import { S3BlobStore } from './s3-blob-store.js';

export type { BlobStore, ByteRange, PresignOptions, PutOptions, StoredBlob } from './blob-store.js';

export function createBlobStore(config: StorageConfig): BlobStore {
  return config.kind === 's3' ? new S3BlobStore(config) : new FilesystemBlobStore(config.root, config.minFreeBytes);
}
