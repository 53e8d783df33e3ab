/** GET /v1/models: newest first. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { ModelSummary, toModelSummary } from './model-resource.js';

export function listModels(app: Api, { models, cursors }: Pick<ApiDeps, 'models' | 'cursors'>): void {
  const schema = {
    tags: ['models'],
    summary: 'List models',
    querystring: Type.Object(pageQuery, { additionalProperties: false }),
    response: { 200: listOf(ModelSummary), ...problemResponses },
  };
  app.get('/v1/models', { config: { scope: 'models:read' }, schema }, async (request, reply) => {
    const pages = listPages(request, cursors);
    return pages.answer(reply, await models.list(request.principal.tenantId, pages), toModelSummary);
  });
}
