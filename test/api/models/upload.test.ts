/** POST /v1/models: a good model is stored once and whole; a bad one leaves nothing at all. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import type { Response, Test } from 'supertest';
import { pack } from 'tar-stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ZipFile } from 'yazl';
import { encodeModelFile } from '../../../services/engine/onnx/index.js';
import { type ApiServer, modelBytes, startApiServer } from '../../support/api-server.js';
import { classifier } from '../../support/build-model.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { waitUntil } from '../../support/wait-until.js';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({ LATHE_UPLOAD_MAX_BYTES: '4000000' });
});
afterAll(() => server.close());

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const upload = (bytes: Buffer, query = ''): Test =>
  server.client.post(`/v1/models${query}`).set('Content-Type', 'application/octet-stream').send(bytes);

type Files = Readonly<Record<string, Buffer>>;
function zipOf(files: Files): Promise<Buffer> {
  const zip = new ZipFile();
  for (const [name, bytes] of Object.entries(files)) zip.addBuffer(bytes, name);
  zip.end();
  return buffer(zip.outputStream);
}
function tarOf(files: Files): Promise<Buffer> {
  const tar = pack();
  for (const [name, bytes] of Object.entries(files)) tar.entry({ name }, bytes);
  tar.finalize();
  return buffer(tar);
}
/** A model whose weights are in model.onnx.data. */
async function externalModel(): Promise<Files> {
  const folder = await temporaryFolder();
  const files = encodeModelFile(classifier({ hidden: 700 + Math.floor(Math.random() * 1_000) }), path.join(folder, 'model.onnx'), {
    externalThresholdBytes: 0,
  });
  return Object.fromEntries(await Promise.all(files.map(async (file) => [path.basename(file.path), await readFile(file.path)])));
}

describe('201', () => {
  it('takes raw bytes and describes the model', async () => {
    const bytes = modelBytes();
    const response = await upload(bytes, '?name=net.onnx').expect(201);
    expect(response.headers.location).toBe(`/v1/models/${response.body.id}`);
    expect(response.body).toMatchObject({
      name: 'net.onnx',
      sha256: sha256(bytes),
      bytes: bytes.length,
      files: [{ path: 'model.onnx', bytes: bytes.length, sha256: sha256(bytes), role: 'model' }],
      inspection: { opset: 17, nodes: 3, inputs: [{ name: 'x', data_type: 'float32', shape: ['batch', 16] }] },
    });
    expect((await server.deps.blobs.stat(server.tenantId, sha256(bytes)))?.bytes).toBe(bytes.length);
    const read = await server.client.get(response.headers.location ?? '').expect(200);
    expect(read.body).toEqual(response.body);
    await server.client
      .get(response.headers.location ?? '')
      .set('If-None-Match', read.headers.etag ?? '')
      .expect(304);
  });

  it('takes what curl sends: a form type, or no type', async () => {
    for (const type of ['application/x-www-form-urlencoded', '']) {
      const response = await fetch(`${server.url}/v1/models`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.key}`, ...(type === '' ? {} : { 'content-type': type }) },
        body: new Uint8Array(modelBytes()),
      });
      expect(response.status).toBe(201);
    }
  });

  it('takes a form, with its name before or after the file', async () => {
    const first = await server.client.post('/v1/models').field('name', 'first').attach('file', modelBytes(), 'a.onnx').expect(201);
    const last = await server.client.post('/v1/models').attach('file', modelBytes(), 'b.onnx').field('name', 'last').expect(201);
    const none = await server.client.post('/v1/models').attach('file', modelBytes(), '../c.onnx').expect(201);
    expect([first.body.name, last.body.name, none.body.name]).toEqual(['first', 'last', 'c.onnx']);
  });

  it.each(['zip', 'tar', 'tar.gz'])('takes a model with external data in a .%s, wherever in it', async (format) => {
    const model = await externalModel();
    const files = Object.fromEntries(
      Object.entries({ ...model, 'README.md': Buffer.from('hello') }).map(([name, bytes]) => [`export/${name}`, bytes]),
    );
    const archive = format === 'zip' ? await zipOf(files) : await tarOf(files);
    const response = await upload(format === 'tar.gz' ? gzipSync(archive) : archive).expect(201);
    const names = response.body.files.map((file: { path: string; role: string }) => [file.path, file.role]);
    expect(names.sort()).toEqual([
      ['model.onnx', 'model'],
      ['model.onnx.data', 'external_data'],
    ]);
    for (const file of response.body.files) expect(file.sha256).toBe(sha256(model[file.path] ?? Buffer.alloc(0)));
    expect(response.body.inspection.external_data).toEqual(['model.onnx.data']);
  });

  it('takes declared digests at their word and checks them', async () => {
    const bytes = modelBytes();
    const digest = createHash('sha256').update(bytes).digest('base64');
    await upload(bytes).set('Repr-Digest', `sha-256=:${digest}:`).expect(201);
  });
});

describe('200', () => {
  it('finds the model that has this content already, also when it is sent twice at once', async () => {
    const bytes = modelBytes();
    const responses = await Promise.all([upload(bytes), upload(bytes)]);
    expect(responses.map((response) => response.status).sort()).toEqual([200, 201]);
    expect(new Set(responses.map((response) => response.body.id)).size).toBe(1);
  });

  it("does not find another tenant's", async () => {
    const bytes = modelBytes();
    await upload(bytes).expect(201);
    await server.stranger.post('/v1/models').set('Content-Type', 'application/octet-stream').send(bytes).expect(201);
  });
});

describe('what is refused leaves no row, blob or file', () => {
  let before: unknown;
  const traces = async () => ({
    files: await server.filesLeft(),
    models: await server.database.db.model.count(),
    blobs: await server.database.db.blob.count(),
  });
  beforeEach(async () => {
    before = await traces();
  });
  afterEach(async () => {
    expect(await traces()).toEqual(before);
    expect((await server.filesLeft()).uploads).toEqual([]);
  });
  const refused = async (request: Test, status: number, code: string) => {
    const response = await request;
    expect([response.status, response.body.code]).toEqual([status, code]);
  };

  it('text', () => refused(upload(Buffer.from('not a model')), 422, 'model_invalid'));
  it('noise', () => refused(upload(Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 7919) & 255))), 422, 'model_invalid'));
  it('a model that is cut off', () => refused(upload(modelBytes().subarray(0, 1_000)), 422, 'model_invalid'));
  it('nothing', () => refused(upload(Buffer.alloc(0)), 400, 'request_invalid'));
  it('a form without a file', () => refused(server.client.post('/v1/models').field('name', 'x'), 400, 'request_invalid'));
  it('a form with an unknown field', () =>
    refused(server.client.post('/v1/models').field('bogus', 'x').attach('file', modelBytes(), 'a.onnx'), 400, 'request_invalid'));
  it('JSON', () => refused(server.client.post('/v1/models').send({}), 415, 'unsupported_media_type'));
  it('damaged bytes', () => refused(upload(modelBytes()).set('X-Checksum-Sha256', '0'.repeat(64)), 422, 'digest_mismatch'));
  it('too many bytes', () => refused(upload(Buffer.alloc(4_000_001)), 413, 'payload_too_large'));
  it('too many bytes in a form', () =>
    refused(server.client.post('/v1/models').attach('file', Buffer.alloc(4_000_001), 'a.onnx'), 413, 'payload_too_large'));
  it('a model without its external data', async () =>
    refused(upload((await externalModel())['model.onnx'] ?? Buffer.alloc(0)), 422, 'external_data_missing'));
  it('external data that is too short', async () => {
    const files = await externalModel();
    const short = { ...files, 'model.onnx.data': files['model.onnx.data']?.subarray(0, 100) ?? Buffer.alloc(0) };
    await refused(upload(await zipOf(short)), 422, 'external_data_invalid');
  });
  it('an archive without a model', async () => refused(upload(await zipOf({ 'a.txt': Buffer.from('a') })), 422, 'archive_invalid'));
  it('an archive with two models', async () =>
    refused(upload(await zipOf({ 'a.onnx': modelBytes(), 'b.onnx': modelBytes() })), 422, 'archive_invalid'));
  it('an archive that is cut off', async () =>
    refused(upload((await zipOf({ 'a.onnx': modelBytes() })).subarray(0, 900)), 422, 'archive_invalid'));
  it('a zip bomb', async () => refused(upload(await zipOf({ 'a.onnx': Buffer.alloc(3_500_000) })), 422, 'archive_invalid'));
  it('an archive that unpacks to too much', async () => {
    const noise = Buffer.from(modelBytes(4_000));
    const files = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`${i}.bin`, noise]));
    await refused(upload(gzipSync(await tarOf(files))), 413, 'payload_too_large');
  });
  it('two names that some file systems take for one', async () =>
    refused(upload(await tarOf({ 'a.onnx': modelBytes(), 'A.onnx': modelBytes() })), 422, 'archive_invalid'));
  it.each(['../a.onnx', '/a.onnx', 'x/../../a.onnx', 'a\\b.onnx'])('the name %s in an archive', async (name) => {
    await refused(upload(await tarOf({ [name]: modelBytes() })), 422, 'archive_invalid');
  });
  it('links in an archive', async () => {
    for (const type of ['symlink', 'link'] as const) {
      const tar = pack();
      tar.entry({ name: 'a.onnx', type, linkname: '/etc/passwd' });
      tar.finalize();
      await refused(upload(await buffer(tar)), 422, 'archive_invalid');
    }
  });
  it('an upload that the client gives up', async () => {
    const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/octet-stream', 'content-length': 1_000_000 };
    const request = httpRequest(`${server.url}/v1/models`, { method: 'POST', headers });
    request.on('error', () => undefined);
    request.write(Buffer.alloc(100_000));
    await waitUntil(async () => (await server.filesLeft()).uploads.length > 0, { what: 'the upload to begin' });
    request.destroy();
    await waitUntil(async () => (await server.filesLeft()).uploads.length === 0, { what: 'the rest of the upload to be removed' });
  });
});

describe('DELETE', () => {
  it('removes the bytes when nobody else refers to them, and not before', async () => {
    const model = await externalModel();
    const one = (await upload(await zipOf(model)).expect(201)).body;
    const data = one.files.find((file: { role: string }) => file.role === 'external_data').sha256;
    const { db } = server.database;
    const artifact = await db.artifact.create({
      data: {
        id: 'art_1',
        tenantId: server.tenantId,
        jobId: 'job_1',
        name: 'd',
        role: 'external_data',
        mediaType: 'x/y',
        sha256: data,
        bytes: 1n,
      },
    });
    await server.client.delete(`/v1/models/${one.id}`).expect(204);
    const main = one.files.find((file: { role: string }) => file.role === 'model').sha256;
    expect(await server.deps.blobs.stat(server.tenantId, main)).toBeUndefined();
    expect(await server.deps.blobs.stat(server.tenantId, data)).toBeDefined();
    await db.artifact.delete({ where: { id: artifact.id } });
    await server.client.get(`/v1/models/${one.id}`).expect(404);
    await server.client.delete(`/v1/models/${one.id}`).expect(404);
    // The same content can come again, and is whole.
    const again = (await upload(await zipOf(model)).expect(201)).body;
    for (const file of again.files) expect((await server.deps.blobs.stat(server.tenantId, file.sha256))?.bytes).toBe(file.bytes);
  });

  it('is refused while a job uses the model', async () => {
    const { id } = (await upload(modelBytes()).expect(201)).body;
    const job = (await server.client.post('/v1/jobs').send({ model_id: id, recipe: 'clean-up' }).expect(202)).body.id;
    expect((await server.client.delete(`/v1/models/${id}`).expect(409)).body.code).toBe('conflict');
    await server.client.post(`/v1/jobs/${job}/cancel`).expect(202);
    await server.client.delete(`/v1/models/${id}`).expect(204);
    expect((await server.client.get(`/v1/jobs/${job}`).expect(200)).body.model_id).toBe(id);
  });
});

describe('GET list', () => {
  it('pages through everything once, newest first, while models are added', async () => {
    for (let model = 0; model < 3; model++) await upload(modelBytes()).expect(201);
    const expected = (await server.client.get('/v1/models?limit=100').expect(200)).body.data.map((model: { id: string }) => model.id);
    const seen: string[] = [];
    let url: string | undefined = '/v1/models?limit=2';
    while (url !== undefined) {
      const page: Response = await server.client.get(url).expect(200);
      seen.push(...page.body.data.map((model: { id: string }) => model.id));
      if (seen.length === 2) await upload(modelBytes()).expect(201);
      const next: string | undefined = /<(.+)>; rel="next"/.exec(page.headers.link ?? '')?.[1];
      expect(page.body.has_more).toBe(next !== undefined);
      url = next;
    }
    expect(seen).toEqual(expected);
  });

  it('refuses a negative limit and a cursor of another list', async () => {
    expect((await server.client.get('/v1/models?limit=-1').expect(400)).body.errors[0].pointer).toBe('query/limit');
    const cursor = (await server.client.get('/v1/models?limit=1').expect(200)).body.next_cursor;
    expect((await server.client.get(`/v1/jobs?after=${cursor}`).expect(400)).body.errors[0].pointer).toBe('query/after');
    await server.stranger.get(`/v1/models?limit=1&after=${cursor}`).expect(400);
  });
});
