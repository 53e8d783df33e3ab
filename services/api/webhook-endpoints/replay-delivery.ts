/** POST /v1/webhook-endpoints/{id}/deliveries/{delivery_id}/replay: the same event again, as a new delivery. */
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { DeliveryResource, toDeliveryResource } from './delivery-resource.js';
import type { EndpointDeps } from './endpoint-resource.js';
import { deliveryParams, findDelivery } from './get-delivery.js';

export function replayDelivery(app: Api, deps: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Deliver again',
    params: deliveryParams,
    response: { 202: DeliveryResource, ...problemResponses },
  };
  app.post(
    '/v1/webhook-endpoints/:id/deliveries/:delivery_id/replay',
    { config: { scope: 'webhooks:manage' }, schema },
    async (request, reply) => {
      const { tenantId } = request.principal;
      const { delivery } = await findDelivery(deps, tenantId, request.params);
      const replay = await deps.webhookEndpoints.replay(tenantId, delivery.id);
      reply.code(202).header('Location', `/v1/webhook-endpoints/${request.params.id}/deliveries/${replay.id}`);
      return toDeliveryResource(replay);
    },
  );
}
