/** DELETE /v1/datasets/{id}: refused while a job uses it; the bytes go when nothing else refers to them. */
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { removeBlobs } from '../uploads/store-blobs.js';

export function deleteDataset(app: Api, deps: Pick<ApiDeps, 'datasets' | 'blobs' | 'blobRows'>): void {
  const schema = {
    tags: ['datasets'],
    summary: 'Delete a data set',
    params: idParams('dataset'),
    response: { 204: Type.Null({ description: 'Deleted.' }), ...problemResponses },
  };
  app.delete('/v1/datasets/:id', { config: { scope: 'models:write' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const removal = await deps.datasets.remove(tenantId, request.params.id);
    if (removal.outcome === 'not_found') throw new AppError('not_found', `No data set has id ${request.params.id}.`);
    if (removal.outcome === 'in_use') throw new AppError('conflict', 'A job that has not ended uses this data set.');
    await removeBlobs(deps, tenantId, [removal.dataset]);
    return reply.code(204).send(null);
  });
}
