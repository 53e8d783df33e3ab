/** POST /v1/datasets: the arrays of a good file are described without being read; a bad file leaves nothing. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, npyBytes, writeNpz } from '../../support/write-npz.js';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({ LATHE_UPLOAD_MAX_BYTES: '4000000' });
});
afterAll(() => server.close());

async function npz(arrays: Readonly<Record<string, ArraySpec>>, options: { compress?: boolean } = {}): Promise<Buffer> {
  const file = path.join(await temporaryFolder(), 'data.npz');
  await writeNpz(file, arrays, options);
  return readFile(file);
}
const upload = (bytes: Buffer) => server.client.post('/v1/datasets').set('Content-Type', 'application/octet-stream').send(bytes);
const zeros = (shape: readonly number[]) => float32Array(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)));
const labels = (count: number) =>
  int64Array(
    [count],
    Array.from({ length: count }, () => 1),
  );

describe('201', () => {
  it.each([false, true])('describes the arrays of a .npz (compressed: %s)', async (compress) => {
    const bytes = await npz({ 'x:0': zeros([compress ? 5 : 6, 3]), labels: labels(compress ? 5 : 6) }, { compress });
    const response = await upload(bytes).expect(201);
    expect(response.body).toMatchObject({
      format: 'npz',
      sample_count: compress ? 5 : 6,
      bytes: bytes.length,
      arrays: [
        { name: 'x:0', dtype: 'float32', shape: [compress ? 5 : 6, 3] },
        { name: 'labels', dtype: 'int64', shape: [compress ? 5 : 6] },
      ],
    });
    expect((await server.client.get(response.headers.location ?? '').expect(200)).body).toEqual(response.body);
    expect((await upload(bytes).expect(200)).body.id).toBe(response.body.id);
  });

  it('takes one .npy, and a form', async () => {
    const response = await server.client
      .post('/v1/datasets')
      .attach('file', npyBytes(zeros([7, 2])), 'x.npy')
      .expect(201);
    expect(response.body).toMatchObject({ name: 'x.npy', format: 'npy', sample_count: 7 });
  });

  it('counts one sample per array where they are numbered, each of its own size', async () => {
    const response = await upload(await npz({ x_0: zeros([1, 1, 8, 9]), x_1: zeros([1, 1, 7, 5]), labels: labels(2) }));
    expect(response.body.sample_count).toBe(2);
  });

  it('takes a scalar beside arrays with samples', async () => {
    const response = await upload(await npz({ x: zeros([4, 2]), rate: int64Array([], [16_000]) })).expect(201);
    expect(response.body.sample_count).toBe(4);
  });
});

describe('422 leaves nothing behind', () => {
  const plain = zeros([2, 2]);
  it.each<[string, () => Promise<Buffer> | Buffer]>([
    ['text', () => Buffer.from('hello')],
    ['a .npz that is cut off', async () => (await npz({ x: plain })).subarray(0, 100)],
    ['no arrays', () => Buffer.from(`PK\x05\x06${'\0'.repeat(18)}`, 'latin1')],
    ['pickled objects', () => npz({ x: { ...plain, descr: '|O' } })],
    ['strings', () => npz({ x: { ...plain, descr: '<U2' } })],
    ['columns first', () => npz({ x: { ...plain, fortran: true } })],
    ['different numbers of samples', () => npz({ x: plain, labels: labels(3) })],
    ['no samples', () => npz({ x: zeros([0, 2]) })],
    ['only scalars', () => npz({ x: int64Array([], [1]) })],
    ['a header that promises more than there is', () => npz({ x: { ...plain, shape: [2_000_000, 2] } })],
    ['a .npy that is cut off', () => npyBytes(plain).subarray(0, -4)],
  ])('%s', async (_what, bytes) => {
    const before = await server.filesLeft();
    const response = await upload(await bytes());
    expect([response.status, response.body.code]).toEqual([422, 'dataset_invalid']);
    expect(await server.filesLeft()).toEqual(before);
  });

  it('arrays that would inflate beyond the limit', async () => {
    const response = await upload(await npz({ x: zeros([1_100_000, 1]) }, { compress: true }));
    expect([response.status, response.body.code]).toEqual([413, 'payload_too_large']);
  });
});

describe('DELETE', () => {
  it('is refused while a job uses the data, and removes the bytes after', async () => {
    const dataset = (await upload(await npz({ x: zeros([3, 16]) })).expect(201)).body;
    const model = await uploadedModel(server.client);
    const job = await server.client
      .post('/v1/jobs')
      .send({ model_id: model, recipe: 'clean-up', data: { evaluation_id: dataset.id } })
      .expect(202);
    await server.client.delete(`/v1/datasets/${dataset.id}`).expect(409);
    await server.client.post(`/v1/jobs/${job.body.id}/cancel`).expect(202);
    await server.client.delete(`/v1/datasets/${dataset.id}`).expect(204);
    expect(await server.deps.blobs.stat(server.tenantId, dataset.sha256)).toBeUndefined();
    await server.client.get(`/v1/datasets/${dataset.id}`).expect(404);
  });
});
