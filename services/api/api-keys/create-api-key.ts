/** POST /v1/api-keys: the answer is the one place where the key is shown; nobody can give more than they have. */
import Type from 'typebox';
import { AppError, apiKeyScopes, newApiKey } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { strict } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { ApiKeyResource, toApiKeyResource } from './api-key-resource.js';

const Body = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 100 }),
    scopes: Type.Array(Type.Enum([...apiKeyScopes]), { minItems: 1, uniqueItems: true }),
    expires_in_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 315_360_000 })),
  },
  strict,
);

const ApiKeyWithSecret = Type.Object({ ...ApiKeyResource.properties, key: Type.String({ description: 'The key. Shown only now.' }) });

export function createApiKey(app: Api, { apiKeys }: Pick<ApiDeps, 'apiKeys'>): void {
  const schema = { tags: ['api-keys'], summary: 'Create an API key', body: Body, response: { 201: ApiKeyWithSecret, ...problemResponses } };
  app.post('/v1/api-keys', { config: { scope: 'keys:manage' }, schema }, async (request, reply) => {
    const { name, scopes, expires_in_seconds: seconds } = request.body;
    const { principal } = request;
    const beyond = scopes.filter((scope) => !principal.scopes.has('admin') && !principal.scopes.has(scope));
    if (beyond.length > 0) throw new AppError('insufficient_scope', `Your key has not itself: ${beyond.join(', ')}.`);
    const key = newApiKey();
    const expiresAt = seconds === undefined ? null : new Date(Date.now() + seconds * 1_000);
    const row = await apiKeys.create(principal.tenantId, key, { name, scopes, expiresAt });
    reply.code(201).header('Location', `/v1/api-keys/${row.id}`).header('Cache-Control', 'no-store');
    return { ...toApiKeyResource(row), key };
  });
}
