/** Downloads: every byte, any part of them, never again when the client has them, and a redirect where the store signs one. */
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '#contracts';
import { buildApp } from '../../../services/api/app.js';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';

let server: ApiServer;
let url: string;
const bytes = randomBytes(100_000);
const sha256 = createHash('sha256').update(bytes).digest('hex');
const tag = `"sha256-${sha256}"`;

beforeAll(async () => {
  server = await startApiServer();
  const model = await uploadedModel(server.client);
  const job = (await server.client.post('/v1/jobs').send({ model_id: model, recipe: 'clean-up' }).expect(202)).body.id;
  await server.deps.blobs.put(server.tenantId, Readable.from([bytes]), { maxBytes: 1_000_000 });
  const id = newId('artifact');
  const row = {
    id,
    tenantId: server.tenantId,
    jobId: job,
    name: 'modèle "1".onnx',
    role: 'model',
    mediaType: 'application/octet-stream',
    sha256,
    bytes: 100_000n,
  };
  await server.database.db.artifact.create({ data: row });
  url = `/v1/artifacts/${id}`;
  expect((await server.client.get(`/v1/jobs/${job}/artifacts`).expect(200)).body.data).toEqual([
    (await server.client.get(url).expect(200)).body,
  ]);
  expect((await server.client.get(`/v1/jobs/${job}`).expect(200)).body.artifacts.count).toBe(1);
});
afterAll(() => server.close());

const get = (headers: Record<string, string> = {}) => server.client.get(`${url}/content`).set(headers).responseType('blob');

describe('GET content', () => {
  it('sends the whole file with all that a cache and a checker need', async () => {
    const response = await get().expect(200);
    expect(bytes.equals(response.body)).toBe(true);
    expect(response.headers).toMatchObject({
      etag: tag,
      'accept-ranges': 'bytes',
      'content-length': '100000',
      'repr-digest': `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`,
      'cache-control': 'private, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
      'content-disposition': `attachment; filename="mod_le _1_.onnx"; filename*=UTF-8''mod%C3%A8le%20%221%22.onnx`,
    });
  });

  it('sends any part that is asked for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(99_999), fc.nat(120_000), async (a, length) => {
        const response = await get({ Range: `bytes=${a}-${a + length}` }).expect(206);
        const end = Math.min(a + length, 99_999);
        expect(response.headers['content-range']).toBe(`bytes ${a}-${end}/100000`);
        expect(bytes.subarray(a, end + 1).equals(response.body)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it('refuses a part that is not there, and says how much is', async () => {
    const response = await server.client.get(`${url}/content`).set('Range', 'bytes=100000-').expect(416);
    expect(response.headers['content-range']).toBe('bytes */100000');
    expect(response.body.code).toBe('range_not_satisfiable');
  });

  it('sends the whole when If-Range names another version, and a part when it names this one', async () => {
    await get({ Range: 'bytes=0-1', 'If-Range': '"other"' }).expect(200);
    await get({ Range: 'bytes=0-1', 'If-Range': tag }).expect(206);
  });

  it('sends nothing that the client has', async () => {
    await get({ 'If-None-Match': tag }).expect(304);
  });

  it('HEAD says the same without the bytes', async () => {
    const response = await server.client.head(`${url}/content`).expect(200);
    expect([response.headers['content-length'], response.headers.etag]).toEqual(['100000', tag]);
  });
});

describe('with a store that signs addresses', () => {
  it('redirects there, unless ?proxy=1', async () => {
    const blobs = Object.create(server.deps.blobs, { presignedUrl: { value: async () => 'https://store.example/signed' } });
    const app = await buildApp({ ...server.deps, blobs }, { version: '0.0.0-test' });
    const headers = { authorization: `Bearer ${server.key}` };
    const redirected = await app.inject({ url: `${url}/content`, headers });
    expect([redirected.statusCode, redirected.headers.location]).toEqual([307, 'https://store.example/signed']);
    expect((await app.inject({ url: `${url}/content?proxy=1`, headers })).statusCode).toBe(200);
  });
});
