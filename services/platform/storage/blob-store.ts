/** The blob store port: bytes by content, inside one tenant. Models, data sets and artifacts all live here. */
import type { Readable } from 'node:stream';

export interface StoredBlob {
  /** Lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
}

/** A blob among those of all tenants. */
export interface BlobName {
  readonly tenantId: string;
  /** Lower-case hex. */
  readonly sha256: string;
}

export interface PutOptions {
  /** More than this: AppError payload_too_large. */
  readonly maxBytes: number;
  /** Lower-case hex; other content: AppError digest_mismatch. */
  readonly expectedSha256?: string;
  /** As announced (Content-Length): refused before the first byte when the disk is too full for it. */
  readonly expectedBytes?: number;
}

/** Both ends inclusive, as in HTTP. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface PresignOptions {
  readonly expiresSeconds: number;
  /** The complete Content-Disposition value of the download. */
  readonly contentDisposition?: string;
  readonly contentType?: string;
}

/**
 * All methods throw AppError for what they name and storage_full when there is no room; a tenant id or digest of the wrong form is a
 * TypeError, so that no request text can become a path.
 */
export interface BlobStore {
  /**
   * Stores a stream. Nothing is left behind when it fails or ends early (AppError upload_incomplete). The source is not destroyed on
   * a refusal: an HTTP handler can still answer.
   */
  put(tenantId: string, source: Readable, options: PutOptions): Promise<StoredBlob>;
  /** Stores a copy of a local file; the file stays. */
  putFile(tenantId: string, path: string): Promise<StoredBlob>;
  /** Throws AppError not_found. The range must lie inside the blob. */
  open(tenantId: string, sha256: string, range?: ByteRange): Promise<Readable>;
  /** Undefined when it is not there. */
  stat(tenantId: string, sha256: string): Promise<{ readonly bytes: number } | undefined>;
  /** Also succeeds when it is not there. */
  delete(tenantId: string, sha256: string): Promise<void>;
  /** The blobs of all tenants whose bytes were written longer ago than this, in no order; none is held back in memory. */
  list(olderThanMs: number): AsyncIterable<BlobName>;
  /** A URL from which anybody can fetch the bytes until it expires; null where the store has no such thing. */
  presignedUrl(tenantId: string, sha256: string, options: PresignOptions): Promise<string | null>;
  /** Writes the bytes to a file that must not exist yet; never a link. Throws AppError not_found. */
  materialise(tenantId: string, sha256: string, destination: string): Promise<void>;
  /** Removes what killed uploads left behind; returns how many. */
  sweepStaging(olderThanMs: number): Promise<number>;
  /** Resolves when the store can be read and written. */
  ping(): Promise<void>;
}
