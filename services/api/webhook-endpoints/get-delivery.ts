/** GET /v1/webhook-endpoints/{id}/deliveries/{delivery_id}: with every attempt. */
import Type from 'typebox';
import { AppError } from '#contracts';
import { problemResponses } from '../http/problem.js';
import { idOf } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { DeliveryWithAttempts, toDeliveryWithAttempts } from './delivery-resource.js';
import type { EndpointDeps } from './endpoint-resource.js';

export const deliveryParams = Type.Object({ id: idOf('webhookEndpoint'), delivery_id: idOf('delivery') });

/** @throws AppError(not_found) also when the delivery is another endpoint's */
export async function findDelivery({ webhookEndpoints }: EndpointDeps, tenantId: string, ids: { id: string; delivery_id: string }) {
  const known = await webhookEndpoints.findDelivery(tenantId, ids.delivery_id);
  if (known === null || known.delivery.endpointId !== ids.id) throw new AppError('not_found', `No delivery has id ${ids.delivery_id}.`);
  return known;
}

export function getDelivery(app: Api, deps: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Get a delivery and its attempts',
    params: deliveryParams,
    response: { 200: DeliveryWithAttempts, ...problemResponses },
  };
  app.get('/v1/webhook-endpoints/:id/deliveries/:delivery_id', { config: { scope: 'webhooks:manage' }, schema }, async (request) => {
    const { delivery, attempts } = await findDelivery(deps, request.principal.tenantId, request.params);
    return toDeliveryWithAttempts(delivery, attempts);
  });
}
