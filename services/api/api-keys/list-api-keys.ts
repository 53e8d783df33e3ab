/** GET /v1/api-keys: newest first, the revoked ones too. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { ApiKeyResource, toApiKeyResource } from './api-key-resource.js';

export function listApiKeys(app: Api, { apiKeys, cursors }: Pick<ApiDeps, 'apiKeys' | 'cursors'>): void {
  const schema = {
    tags: ['api-keys'],
    summary: 'List API keys',
    querystring: Type.Object(pageQuery, { additionalProperties: false }),
    response: { 200: listOf(ApiKeyResource), ...problemResponses },
  };
  app.get('/v1/api-keys', { config: { scope: 'keys:manage' }, schema }, async (request, reply) => {
    const pages = listPages(request, cursors);
    return pages.answer(reply, await apiKeys.list(request.principal.tenantId, pages), toApiKeyResource);
  });
}
