/** GET /v1/webhook-endpoints/{id}. */
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { type EndpointDeps, EndpointResource, found, toEndpointResource } from './endpoint-resource.js';

export function getEndpoint(app: Api, { webhookEndpoints }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Get a webhook endpoint',
    params: idParams('webhookEndpoint'),
    response: { 200: EndpointResource, ...problemResponses },
  };
  app.get('/v1/webhook-endpoints/:id', { config: { scope: 'webhooks:manage' }, schema }, async (request) => {
    const { id } = request.params;
    return toEndpointResource(found(await webhookEndpoints.find(request.principal.tenantId, id), id));
  });
}
