/** POST /v1/webhook-endpoints/{id}/rotate-secret: a new secret; the old one signs too until the overlap is over. */
import Type from 'typebox';
import { problemResponses } from '../http/problem.js';
import { idParams, nullable } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { type EndpointDeps, EndpointWithSecret, found, newWebhookSecret, toEndpointResource } from './endpoint-resource.js';

const overlapDefault = 86_400;

const Body = Type.Object(
  { overlap_seconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 604_800, description: `Default ${overlapDefault}.` })) },
  { additionalProperties: false },
);

export function rotateSecret(app: Api, { webhookEndpoints }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Rotate the secret of a webhook endpoint',
    params: idParams('webhookEndpoint'),
    body: nullable(Body),
    response: { 200: EndpointWithSecret, ...problemResponses },
  };
  app.post('/v1/webhook-endpoints/:id/rotate-secret', { config: { scope: 'webhooks:manage' }, schema }, async (request) => {
    const { id } = request.params;
    const secret = newWebhookSecret();
    const overlapUntil = new Date(Date.now() + (request.body?.overlap_seconds ?? overlapDefault) * 1_000);
    const endpoint = found(await webhookEndpoints.rotateSecret(request.principal.tenantId, id, { secret, overlapUntil }), id);
    return { ...toEndpointResource(endpoint), secret };
  });
}
