/** DELETE /v1/models/{id}: refused while a job uses it; the bytes go when nothing else refers to them. */
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { removeBlobs } from '../uploads/store-blobs.js';

export function deleteModel(app: Api, deps: Pick<ApiDeps, 'models' | 'blobs' | 'blobRows'>): void {
  const schema = {
    tags: ['models'],
    summary: 'Delete a model',
    params: idParams('model'),
    response: { 204: Type.Null({ description: 'Deleted.' }), ...problemResponses },
  };
  app.delete('/v1/models/:id', { config: { scope: 'models:write' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const removal = await deps.models.remove(tenantId, request.params.id);
    if (removal.outcome === 'not_found') throw new AppError('not_found', `No model has id ${request.params.id}.`);
    if (removal.outcome === 'in_use') throw new AppError('conflict', 'A job that has not ended uses this model.');
    await removeBlobs(deps, tenantId, removal.model.files);
    return reply.code(204).send(null);
  });
}
