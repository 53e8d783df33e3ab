/** GET /v1/models/{id}: the model with its inspection; it never changes, so its tag is its id. */
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { noneMatchHits, weakTag } from '../http/entity-tag.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { ModelResource, toModelResource } from './model-resource.js';

export function getModel(app: Api, { models }: Pick<ApiDeps, 'models'>): void {
  const schema = {
    tags: ['models'],
    summary: 'Get a model and its inspection',
    params: idParams('model'),
    response: { 200: ModelResource, 304: Type.Null({ description: 'Unchanged.' }), ...problemResponses },
  };
  app.get('/v1/models/:id', { config: { scope: 'models:read' }, schema }, async (request, reply) => {
    const model = await models.find(request.principal.tenantId, request.params.id);
    if (model === null) throw new AppError('not_found', `No model has id ${request.params.id}.`);
    const tag = weakTag(model.id);
    reply.header('ETag', tag).header('Cache-Control', 'private, no-cache');
    if (noneMatchHits(request.headers['if-none-match'], tag)) return reply.code(304).send(null);
    return toModelResource(model);
  });
}
