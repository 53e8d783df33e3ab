/** A job may bring a second model to learn from: it must exist, be its owner's, be wanted by the recipe, and stay while it is needed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';
import { float32Array, npyBytes } from '../../support/write-npz.js';

let server: ApiServer;
let model: string;
let teacher: string;
let data: { readonly calibration_id: string };
beforeAll(async () => {
  server = await startApiServer();
  model = await uploadedModel(server.client);
  teacher = await uploadedModel(server.client);
  const upload = server.client.post('/v1/datasets').set('Content-Type', 'application/octet-stream');
  const { body } = await upload.send(npyBytes(float32Array([4, 16], new Float32Array(64)))).expect(201);
  data = { calibration_id: body.id };
});
afterAll(() => server.close());

const post = (over: object, query = '') =>
  server.client.post(`/v1/jobs${query}`).send({ model_id: model, recipe: 'distill', data, ...over });
const faults = (response: { body: { errors: { pointer: string; code: string }[] } }) =>
  response.body.errors.map(({ pointer, code }) => [pointer, code]);

describe('a job with a teacher', () => {
  it('names it, and a repetition of the job has it, too', async () => {
    const { body: job } = await post({ teacher_model_id: teacher }).expect(202);
    expect(job).toMatchObject({ model_id: model, teacher_model_id: teacher });
    expect((await server.client.get(`/v1/jobs/${job.id}`).expect(200)).body.teacher_model_id).toBe(teacher);
    await server.client.post(`/v1/jobs/${job.id}/cancel`).expect(202);
    const { body: again } = await server.client.post(`/v1/jobs/${job.id}/retry`).expect(202);
    expect(again.teacher_model_id).toBe(teacher);
    await server.client.post(`/v1/jobs/${again.id}/cancel`).expect(202);
  });

  it('may learn from the very model that it trains', async () => {
    const { body: job } = await post({ teacher_model_id: model }).expect(202);
    await server.client.post(`/v1/jobs/${job.id}/cancel`).expect(202);
  });

  it('without one has none', async () => {
    const { body: job } = await post({ recipe: 'prune-distill' }).expect(202);
    expect(job.teacher_model_id).toBeNull();
    await server.client.post(`/v1/jobs/${job.id}/cancel`).expect(202);
  });

  it.each(['', '?validate_only=true'])('is refused when the teacher does not exist, or is a stranger’s%s', async (query) => {
    const foreign = await uploadedModel(server.stranger);
    for (const id of ['mdl_0', foreign]) {
      const response = await post({ teacher_model_id: id }, query).expect(404);
      expect([response.body.code, ...faults(response)]).toEqual(['not_found', ['/teacher_model_id', 'not_found']]);
    }
  });

  it('is refused when both models are missing, with both places', async () => {
    const response = await post({ model_id: 'mdl_0', teacher_model_id: 'mdl_1' }).expect(404);
    expect(faults(response)).toEqual([
      ['/model_id', 'not_found'],
      ['/teacher_model_id', 'not_found'],
    ]);
  });

  it('is refused when the recipe wants one and there is none, or has no use for it', async () => {
    const wanting = await post({ recipe: { steps: [{ method: 'clean-up' }, { method: 'distill', teacher: 'given' }] } }).expect(422);
    expect([wanting.body.code, ...faults(wanting)]).toEqual(['recipe_invalid', ['/recipe/steps/1/teacher', 'needs_teacher']]);
    const idle = await post({ recipe: 'clean-up', teacher_model_id: teacher }).expect(422);
    expect([idle.body.code, ...faults(idle)]).toEqual(['recipe_invalid', ['/teacher_model_id', 'unused_teacher']]);
  });

  it('is refused without samples to learn from', async () => {
    const response = await post({ data: {}, teacher_model_id: teacher }).expect(422);
    expect(faults(response)).toEqual([['/recipe/steps/0', 'needs_data']]);
  });
});

describe('a teacher', () => {
  it('cannot be deleted while a job needs it, and can afterwards', async () => {
    const id = await uploadedModel(server.client);
    const { body: job } = await post({ teacher_model_id: id }).expect(202);
    expect((await server.client.delete(`/v1/models/${id}`).expect(409)).body.code).toBe('conflict');
    await server.client.post(`/v1/jobs/${job.id}/cancel`).expect(202);
    await server.client.delete(`/v1/models/${id}`).expect(204);
    await server.client.post(`/v1/jobs/${job.id}/retry`).expect(404);
  });

  it('that is being deleted either has the job or is gone', async () => {
    for (let round = 0; round < 10; round++) {
      const id = await uploadedModel(server.client);
      const [created, removed] = await Promise.all([post({ teacher_model_id: id }), server.client.delete(`/v1/models/${id}`)]);
      expect([
        [202, 409],
        [404, 204],
      ]).toContainEqual([created.status, removed.status]);
    }
  });
});
