/** GET /v1/datasets/{id}: its arrays; it never changes, so its tag is its id. */
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { noneMatchHits, weakTag } from '../http/entity-tag.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { DatasetResource, toDatasetResource } from './dataset-resource.js';

export function getDataset(app: Api, { datasets }: Pick<ApiDeps, 'datasets'>): void {
  const schema = {
    tags: ['datasets'],
    summary: 'Get a data set',
    params: idParams('dataset'),
    response: { 200: DatasetResource, 304: Type.Null({ description: 'Unchanged.' }), ...problemResponses },
  };
  app.get('/v1/datasets/:id', { config: { scope: 'models:read' }, schema }, async (request, reply) => {
    const dataset = await datasets.find(request.principal.tenantId, request.params.id);
    if (dataset === null) throw new AppError('not_found', `No data set has id ${request.params.id}.`);
    const tag = weakTag(dataset.id);
    reply.header('ETag', tag).header('Cache-Control', 'private, no-cache');
    if (noneMatchHits(request.headers['if-none-match'], tag)) return reply.code(304).send(null);
    return toDatasetResource(dataset);
  });
}
