/** DELETE /v1/api-keys/{id}: the key works nowhere any more within two seconds. */
import { AppError } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { ApiKeyResource, toApiKeyResource } from './api-key-resource.js';

export function revokeApiKey(app: Api, { apiKeys }: Pick<ApiDeps, 'apiKeys'>): void {
  const schema = {
    tags: ['api-keys'],
    summary: 'Revoke an API key',
    params: idParams('apiKey'),
    response: { 200: ApiKeyResource, ...problemResponses },
  };
  app.delete('/v1/api-keys/:id', { config: { scope: 'keys:manage' }, schema }, async (request) => {
    const row = await apiKeys.revoke(request.principal.tenantId, request.params.id);
    if (row === null) throw new AppError('not_found', `No API key has id ${request.params.id}.`);
    return toApiKeyResource(row);
  });
}
