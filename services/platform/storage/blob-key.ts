/** Where a blob lies: blobs/<tenant>/sha256/aa/bb/<hex>, the same in every store. */
import type { BlobName } from './blob-store.js';

/** Throws TypeError unless both parts have exactly the form of an id and a digest. */
export function blobKey(tenantId: string, sha256: string): string {
  if (!isTenantId(tenantId)) throw new TypeError('Not a tenant id');
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new TypeError('Not a SHA-256 digest in lower-case hex');
  return `blobs/${tenantId}/sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
}

/** The inverse of blobKey; undefined for anything that it does not give. */
export function parseBlobKey(key: string): BlobName | undefined {
  const [, tenantId, sha256] = /^blobs\/([^/]+)\/sha256\/[^/]+\/[^/]+\/([0-9a-f]{64})$/.exec(key) ?? [];
  if (tenantId === undefined || sha256 === undefined || !isTenantId(tenantId)) return undefined;
  return blobKey(tenantId, sha256) === key ? { tenantId, sha256 } : undefined;
}

function isTenantId(text: string): boolean {
  return /^[a-z]{2,8}_[0-9A-Za-z]{1,64}$/.test(text);
}
