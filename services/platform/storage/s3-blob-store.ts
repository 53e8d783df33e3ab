/** Blobs in an S3 bucket, AWS or compatible. Uploads are staged locally, because the key is the digest of the whole. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  paginateListObjectsV2,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { AppError } from '#contracts';
import type { S3StorageConfig } from '../config/index.js';
import { blobKey, parseBlobKey } from './blob-key.js';
import type { BlobName, BlobStore, ByteRange, PresignOptions, PutOptions, StoredBlob } from './blob-store.js';
import { type StagedFile, StagingArea } from './staging-area.js';

/** Parts in flight are held in memory: 4 x 16 MiB. At 10,000 parts this reaches 156 GiB. */
const PART_BYTES = 16 * 1024 * 1024;

export class S3BlobStore implements BlobStore {
  private readonly client: S3Client;
  private readonly bucket: string;
  private readonly staging: StagingArea;

  constructor(config: S3StorageConfig) {
    this.bucket = config.bucket;
    this.staging = new StagingArea(config.stagingRoot, config.minFreeBytes);
    this.client = new S3Client({
      region: config.region,
      forcePathStyle: config.forcePathStyle,
      ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
      ...(config.credentials === undefined ? {} : { credentials: config.credentials }),
      // The SDK's own CRC trailers are refused by many compatible stores; integrity rests on the digest in the key.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  put(tenantId: string, source: Readable, options: PutOptions): Promise<StoredBlob> {
    return this.staging.receive(source, options, (file) => this.upload(tenantId, file));
  }

  putFile(tenantId: string, file: string): Promise<StoredBlob> {
    return this.staging.receiveFile(file, (staged) => this.upload(tenantId, staged));
  }

  async open(tenantId: string, sha256: string, range?: ByteRange): Promise<Readable> {
    const Range = range && `bytes=${range.start}-${range.end}`;
    const command = new GetObjectCommand({ ...this.locate(tenantId, sha256), ...(Range ? { Range } : {}) });
    const { Body } = await this.client.send(command).catch(refuseMissing);
    if (!(Body instanceof Readable)) throw new TypeError('The S3 client did not return a Node stream');
    return Body;
  }

  async stat(tenantId: string, sha256: string): Promise<{ bytes: number } | undefined> {
    try {
      const { ContentLength } = await this.client.send(new HeadObjectCommand(this.locate(tenantId, sha256)));
      return { bytes: ContentLength ?? 0 };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async delete(tenantId: string, sha256: string): Promise<void> {
    await this.client.send(new DeleteObjectCommand(this.locate(tenantId, sha256)));
  }

  async *list(olderThanMs: number): AsyncGenerator<BlobName> {
    for await (const { Contents = [] } of paginateListObjectsV2({ client: this.client }, { Bucket: this.bucket, Prefix: 'blobs/' })) {
      for (const { Key = '', LastModified } of Contents) {
        const name = parseBlobKey(Key);
        if (name && Date.now() - (LastModified?.getTime() ?? Date.now()) >= olderThanMs) yield name;
      }
    }
  }

  presignedUrl(tenantId: string, sha256: string, options: PresignOptions): Promise<string> {
    const command = new GetObjectCommand({
      ...this.locate(tenantId, sha256),
      ...(options.contentDisposition === undefined ? {} : { ResponseContentDisposition: options.contentDisposition }),
      ...(options.contentType === undefined ? {} : { ResponseContentType: options.contentType }),
    });
    return getSignedUrl(this.client, command, { expiresIn: options.expiresSeconds });
  }

  async materialise(tenantId: string, sha256: string, destination: string): Promise<void> {
    const source = await this.open(tenantId, sha256);
    const hash = createHash('sha256');
    const handle = await open(destination, 'wx', 0o600).catch((error: unknown) => {
      source.destroy();
      throw error;
    });
    try {
      await pipeline(source, (chunks) => hashWhilePassing(chunks, hash), handle.createWriteStream());
      if (hash.digest('hex') !== sha256) throw new Error(`Blob ${sha256} came back from S3 with other bytes`);
    } catch (error) {
      await rm(destination, { force: true });
      throw error;
    }
  }

  async sweepStaging(olderThanMs: number): Promise<number> {
    const local = await this.staging.sweep(olderThanMs);
    const { Uploads = [] } = await this.client.send(new ListMultipartUploadsCommand({ Bucket: this.bucket, Prefix: 'blobs/' }));
    const stale = Uploads.filter(({ Initiated }) => Date.now() - (Initiated?.getTime() ?? Date.now()) >= olderThanMs);
    for (const { Key, UploadId } of stale) await this.client.send(new AbortMultipartUploadCommand({ Bucket: this.bucket, Key, UploadId }));
    return local + stale.length;
  }

  async ping(): Promise<void> {
    await this.staging.prepare();
    await this.client.send(new HeadBucketCommand({ Bucket: this.bucket }));
  }

  private locate(tenantId: string, sha256: string): { Bucket: string; Key: string } {
    return { Bucket: this.bucket, Key: blobKey(tenantId, sha256) };
  }

  private async upload(tenantId: string, file: StagedFile): Promise<void> {
    const location = this.locate(tenantId, file.sha256);
    if ((await this.stat(tenantId, file.sha256))?.bytes === file.bytes) return;
    const body = createReadStream(file.path);
    try {
      await new Upload({ client: this.client, params: { ...location, Body: body }, partSize: PART_BYTES, queueSize: 4 }).done();
    } finally {
      body.destroy();
    }
    const stored = await this.stat(tenantId, file.sha256);
    if (stored?.bytes !== file.bytes) throw new Error(`S3 holds ${stored?.bytes} bytes of ${file.sha256}, ${file.bytes} were sent`);
  }
}

async function* hashWhilePassing(chunks: AsyncIterable<Uint8Array>, hash: ReturnType<typeof createHash>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    yield chunk;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof S3ServiceException && (error.$metadata.httpStatusCode === 404 || error.name === 'NoSuchKey');
}

function refuseMissing(cause: unknown): never {
  throw isMissing(cause) ? new AppError('not_found', 'The bytes are not in the store.', { cause }) : cause;
}
