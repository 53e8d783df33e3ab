/** Where a blob lies: blobs/<tenant>/sha256/aa/bb/<hex>, the same in every store. */

/** Throws TypeError unless both parts have exactly the form of an id and a digest. */
export function blobKey(tenantId: string, sha256: string): string {
  if (!/^[a-z]{2,8}_[0-9A-Za-z]{1,64}$/.test(tenantId)) throw new TypeError('Not a tenant id');
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new TypeError('Not a SHA-256 digest in lower-case hex');
  return `blobs/${tenantId}/sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
}
