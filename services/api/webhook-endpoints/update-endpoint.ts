/** PATCH /v1/webhook-endpoints/{id}: only what is named changes; `enabled: true` forgets earlier failures. */
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { EndpointChange, type EndpointDeps, EndpointResource, found, toEndpointResource } from './endpoint-resource.js';

export function updateEndpoint(app: Api, { webhookEndpoints, checkWebhookUrl }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Change a webhook endpoint',
    params: idParams('webhookEndpoint'),
    body: EndpointChange,
    response: { 200: EndpointResource, ...problemResponses },
  };
  app.patch('/v1/webhook-endpoints/:id', { config: { scope: 'webhooks:manage' }, schema }, async (request) => {
    const { tenantId } = request.principal;
    const { id } = request.params;
    found(await webhookEndpoints.find(tenantId, id), id);
    if (request.body.url !== undefined) await checkWebhookUrl(request.body.url);
    return toEndpointResource(found(await webhookEndpoints.update(tenantId, id, request.body), id));
  });
}
