/** POST /v1/webhook-endpoints/{id}/ping: sends one event of type ping; watch the delivery that it answers with. */
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { DeliveryResource, toDeliveryResource } from './delivery-resource.js';
import type { EndpointDeps } from './endpoint-resource.js';

export function pingEndpoint(app: Api, { webhookEndpoints }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Send a ping',
    params: idParams('webhookEndpoint'),
    response: { 202: DeliveryResource, ...problemResponses },
  };
  app.post('/v1/webhook-endpoints/:id/ping', { config: { scope: 'webhooks:manage' }, schema }, async (request, reply) => {
    const delivery = await webhookEndpoints.ping(request.principal.tenantId, request.params.id);
    reply.code(202).header('Location', `/v1/webhook-endpoints/${request.params.id}/deliveries/${delivery.id}`);
    return toDeliveryResource(delivery);
  });
}
