import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { StorageConfig } from '#platform/config';
import { type BlobStore, openBlobStore } from '#platform/storage';
import { patient } from '../support/patient.js';
import { S3Server } from '../support/s3-server.js';

const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const streamOf = (bytes: Uint8Array, chunk = 65_536) =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    })(),
    { objectMode: false },
  );
const anySize = { maxBytes: 1024 ** 3 };

for (const kind of ['filesystem', 's3'] as const) {
  describe(`blob store on ${kind}`, () => {
    let folder: string;
    let server: S3Server | undefined;
    let config: StorageConfig;
    let store: BlobStore;
    let stagingRoot: string;
    const tenant = `ten_${randomBytes(6).toString('hex')}`;

    beforeEach(async () => {
      folder = await mkdtemp(path.join(tmpdir(), 'lathe-blobs-'));
      if (kind === 's3') {
        server = await S3Server.start();
        stagingRoot = path.join(folder, 'staging');
        const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
        const { bucket, endpoint } = server;
        config = { kind: 's3', bucket, endpoint, region: 'us-east-1', forcePathStyle: true, credentials, stagingRoot, minFreeBytes: 0 };
      } else {
        config = { kind: 'filesystem', root: folder, minFreeBytes: 0 };
        stagingRoot = path.join(folder, 'staging');
      }
      store = await openBlobStore(config);
    });
    afterEach(async () => {
      await server?.close();
      server = undefined;
      await rm(folder, { recursive: true });
    });

    /** Every file or object of the store, staging included. */
    async function contents(): Promise<string[]> {
      const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
      return [
        ...files.map((file) => path.join(file.parentPath, file.name)),
        ...(server?.objects.keys() ?? []),
        ...(server?.uploads.keys() ?? []),
      ];
    }
    const putBytes = (bytes: Uint8Array) => store.put(tenant, streamOf(bytes), anySize);

    it('gives back, whole and in any range, the bytes that were put', async () => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 5000 }), fc.nat(), fc.nat(), async (bytes, a, b) => {
          const blob = await putBytes(bytes);
          expect(blob).toEqual({ sha256: sha256Of(bytes), bytes: bytes.length });
          expect(await buffer(await store.open(tenant, blob.sha256))).toEqual(Buffer.from(bytes));
          const [start = 0, end = 0] = [a % bytes.length, b % bytes.length].sort((x, y) => x - y);
          expect(await buffer(await store.open(tenant, blob.sha256, { start, end }))).toEqual(Buffer.from(bytes.subarray(start, end + 1)));
          expect(await store.stat(tenant, blob.sha256)).toEqual({ bytes: bytes.length });
        }),
        { numRuns: 20 },
      );
      expect(await readdir(stagingRoot)).toEqual([]);
    });

    it('stores an empty stream', async () => {
      const blob = await store.put(tenant, Readable.from([]), anySize);
      expect(blob).toEqual({ sha256: sha256Of(new Uint8Array()), bytes: 0 });
      expect((await buffer(await store.open(tenant, blob.sha256))).length).toBe(0);
    });

    it('stores a file larger than one part, with the digest of the whole', async () => {
      const bytes = randomBytes(40 * 1024 * 1024);
      const blob = await store.put(tenant, streamOf(bytes, 1024 * 1024), anySize);
      expect(blob.sha256).toBe(sha256Of(bytes));
      const destination = path.join(folder, 'large');
      await store.materialise(tenant, blob.sha256, destination);
      expect(sha256Of(await readFile(destination))).toBe(blob.sha256);
      expect(server?.uploads.size ?? 0).toBe(0);
    });

    it('the same content twice is one blob, also when both are put at once', async () => {
      const bytes = randomBytes(1000);
      const [first, second] = await Promise.all([putBytes(bytes), putBytes(bytes)]);
      expect(first).toEqual(second);
      expect(await contents()).toHaveLength(1);
    });

    it('keeps tenants apart', async () => {
      const { sha256 } = await putBytes(randomBytes(10));
      expect(await store.stat('ten_other', sha256)).toBeUndefined();
      await expect(store.open('ten_other', sha256)).rejects.toMatchObject({ code: 'not_found' });
    });

    it('leaves nothing behind when the stream breaks off', async () => {
      const source = new PassThrough();
      const putting = store.put(tenant, source, anySize);
      source.write(randomBytes(300_000));
      await vi.waitFor(async () => expect(await readdir(stagingRoot)).toHaveLength(1), patient);
      source.destroy();
      await expect(putting).rejects.toMatchObject({ code: 'upload_incomplete' });
      expect(await contents()).toEqual([]);
    });

    it('refuses more than maxBytes without destroying the source, and leaves nothing behind', async () => {
      const source = streamOf(randomBytes(200_000), 1000);
      await expect(store.put(tenant, source, { maxBytes: 99_999 })).rejects.toMatchObject({ code: 'payload_too_large', status: 413 });
      expect(source.destroyed).toBe(false);
      expect(await contents()).toEqual([]);
    });

    it('accepts exactly maxBytes', async () => {
      expect((await store.put(tenant, streamOf(randomBytes(5000)), { maxBytes: 5000 })).bytes).toBe(5000);
    });

    it('refuses bytes with another digest than declared, and leaves nothing behind', async () => {
      const options = { ...anySize, expectedSha256: sha256Of(Buffer.from('other')) };
      await expect(store.put(tenant, streamOf(randomBytes(500)), options)).rejects.toMatchObject({ code: 'digest_mismatch', status: 422 });
      expect(await contents()).toEqual([]);
    });

    it('refuses an upload for which the disk has no room, before the first byte', async () => {
      const source = streamOf(randomBytes(100));
      const huge = { maxBytes: Number.MAX_SAFE_INTEGER, expectedBytes: 2 ** 52 };
      await expect(store.put(tenant, source, huge)).rejects.toMatchObject({ code: 'storage_full', status: 507 });
      expect(source.readableDidRead).toBe(false);
      const reserved = await openBlobStore({ ...config, minFreeBytes: 2 ** 52 });
      await expect(reserved.put(tenant, streamOf(randomBytes(100)), anySize)).rejects.toMatchObject({ code: 'storage_full' });
      expect(await contents()).toEqual([]);
    });

    it('putFile copies: the file stays and later changes to it do not reach the blob', async () => {
      const file = path.join(folder, 'artifact.onnx');
      await writeFile(file, 'first');
      const blob = await store.putFile(tenant, file);
      await writeFile(file, 'other');
      expect((await buffer(await store.open(tenant, blob.sha256))).toString()).toBe('first');
    });

    it('materialise writes a separate file: changing it does not reach the blob', async () => {
      const { sha256 } = await putBytes(Buffer.from('original'));
      const destination = path.join(folder, 'copy');
      await store.materialise(tenant, sha256, destination);
      expect((await stat(destination)).nlink).toBe(1);
      await writeFile(destination, 'changed!');
      expect((await buffer(await store.open(tenant, sha256))).toString()).toBe('original');
    });

    it('materialise never overwrites a file nor follows a link', async () => {
      const { sha256 } = await putBytes(Buffer.from('content'));
      const outside = path.join(folder, 'outside');
      const link = path.join(folder, 'link');
      await symlink(outside, link);
      await expect(store.materialise(tenant, sha256, link)).rejects.toThrow(/EEXIST/);
      await expect(stat(outside)).rejects.toThrow(/ENOENT/);
      await writeFile(outside, 'kept');
      await expect(store.materialise(tenant, sha256, outside)).rejects.toThrow(/EEXIST/);
      expect(await readFile(outside, 'utf8')).toBe('kept');
    });

    it('a blob that is missing: stat is undefined, open and materialise are not_found, delete succeeds', async () => {
      const sha256 = sha256Of(randomBytes(8));
      expect(await store.stat(tenant, sha256)).toBeUndefined();
      await expect(store.open(tenant, sha256)).rejects.toMatchObject({ code: 'not_found' });
      await expect(store.materialise(tenant, sha256, path.join(folder, 'x'))).rejects.toMatchObject({ code: 'not_found' });
      await expect(stat(path.join(folder, 'x'))).rejects.toThrow(/ENOENT/);
      await store.delete(tenant, sha256);
    });

    it('delete removes the bytes', async () => {
      const { sha256 } = await putBytes(randomBytes(10));
      await store.delete(tenant, sha256);
      expect(await store.stat(tenant, sha256)).toBeUndefined();
      expect(await contents()).toEqual([]);
    });

    it.each([
      ['../../etc', 'a'.repeat(64)],
      ['ten_a/../b', 'a'.repeat(64)],
      ['ten_a', '../'.repeat(20).padEnd(64, 'a')],
      ['ten_a', 'A'.repeat(64)],
      ['ten_a', ''],
    ])('refuses %j with digest %j as a name', async (tenantId, sha256) => {
      await expect(Promise.resolve().then(() => store.open(tenantId, sha256))).rejects.toThrow(TypeError);
      await expect(Promise.resolve().then(() => store.delete(tenantId, sha256))).rejects.toThrow(TypeError);
    });

    it('sweepStaging removes what killed uploads left and spares running ones', async () => {
      await store.ping();
      const [dead, alive] = [path.join(stagingRoot, 'dead.part'), path.join(stagingRoot, 'alive.part')];
      await mkdir(stagingRoot, { recursive: true });
      for (const file of [dead, alive]) await writeFile(file, 'x');
      await utimes(dead, new Date(0), new Date(0));
      if (server) {
        server.uploads.set('dead', { key: 'blobs/ten_a/x', initiated: new Date(0), parts: new Map() });
        server.uploads.set('alive', { key: 'blobs/ten_a/y', initiated: new Date(), parts: new Map() });
      }
      expect(await store.sweepStaging(3_600_000)).toBe(server ? 2 : 1);
      expect(await readdir(stagingRoot)).toEqual(['alive.part']);
      expect([...(server?.uploads.keys() ?? [])]).toEqual(server ? ['alive'] : []);
    });

    it('list names every blob of every tenant that was written before the grace, and nothing else', async () => {
      const listed = async () => {
        const names = [];
        for await (const name of store.list(3_600_000)) names.push(name);
        return names.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
      };
      expect(await listed()).toEqual([]);
      const old = [];
      for (const tenantId of [tenant, tenant, 'ten_other', tenant, 'ten_other'])
        old.push({ tenantId, sha256: (await store.put(tenantId, streamOf(randomBytes(20)), anySize)).sha256 });
      for (const { tenantId, sha256 } of old) {
        const key = `blobs/${tenantId}/sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
        if (server) server.modified.set(key, new Date(0));
        else await utimes(path.join(folder, key), new Date(0), new Date(0));
      }
      await putBytes(randomBytes(20));
      if (server) {
        server.objects.set('blobs/readme', Buffer.from('x'));
        server.modified.set('blobs/readme', new Date(0));
      } else {
        await writeFile(path.join(folder, 'blobs', 'readme'), 'x');
        await utimes(path.join(folder, 'blobs', 'readme'), new Date(0), new Date(0));
      }
      expect(await listed()).toEqual(old.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1)));
    });

    it('ping says whether the store can be used', async () => {
      await store.ping();
      if (config.kind === 's3') {
        const unusable = await openBlobStore({ ...config, bucket: 'no-such-bucket' });
        await expect(unusable.ping()).rejects.toThrow();
      } else {
        await writeFile(path.join(folder, 'file'), '');
        const unusable = await openBlobStore({ ...config, root: path.join(folder, 'file') });
        await expect(unusable.ping()).rejects.toThrow();
      }
    });

    it.runIf(kind === 'filesystem')('has no presigned URLs', async () => {
      const { sha256 } = await putBytes(randomBytes(10));
      expect(await store.presignedUrl(tenant, sha256, { expiresSeconds: 60 })).toBeNull();
    });

    it.runIf(kind === 's3')('a presigned URL serves the bytes without credentials, under the given name', async () => {
      const { sha256 } = await putBytes(Buffer.from('download'));
      const contentDisposition = 'attachment; filename="model.onnx"';
      const url = await store.presignedUrl(tenant, sha256, { expiresSeconds: 60, contentDisposition });
      const response = await fetch(url ?? '');
      expect(await response.text()).toBe('download');
      expect(response.headers.get('content-disposition')).toBe(contentDisposition);
      expect(url).toContain('X-Amz-Signature=');
    });

    it.runIf(kind === 's3')('survives single failures of the server', async () => {
      if (server) server.failNext = { methods: ['PUT', 'HEAD'], count: 2 };
      const bytes = randomBytes(100);
      const { sha256 } = await putBytes(bytes);
      expect(await buffer(await store.open(tenant, sha256))).toEqual(bytes);
    });

    it.runIf(kind === 's3')('refuses bytes that changed in S3 and removes what it wrote of them', async () => {
      const { sha256 } = await putBytes(Buffer.from('authentic'));
      for (const key of server?.objects.keys() ?? []) server?.objects.set(key, Buffer.from('forged!!!'));
      const destination = path.join(folder, 'copy');
      await expect(store.materialise(tenant, sha256, destination)).rejects.toThrow(/other bytes/);
      await expect(stat(destination)).rejects.toThrow(/ENOENT/);
    });

    it.runIf(kind === 'filesystem')('only the owner can enter the folders and read the files', async () => {
      const { sha256 } = await putBytes(randomBytes(10));
      const file = path.join(folder, 'blobs', tenant, 'sha256', sha256.slice(0, 2), sha256.slice(2, 4), sha256);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect((await stat(path.join(folder, 'blobs'))).mode & 0o777).toBe(0o700);
    });
  });
}
