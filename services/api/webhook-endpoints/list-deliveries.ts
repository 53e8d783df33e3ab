/** GET /v1/webhook-endpoints/{id}/deliveries: newest first, by state if asked. */
import Type from 'typebox';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { DeliveryResource, toDeliveryResource } from './delivery-resource.js';
import { type EndpointDeps, found } from './endpoint-resource.js';

const Query = Type.Object(
  { ...pageQuery, state: Type.Optional(Type.Enum(['pending', 'succeeded', 'failed'])) },
  { additionalProperties: false },
);

export function listDeliveries(app: Api, { webhookEndpoints, cursors }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'List the deliveries of a webhook endpoint',
    params: idParams('webhookEndpoint'),
    querystring: Query,
    response: { 200: listOf(DeliveryResource), ...problemResponses },
  };
  app.get('/v1/webhook-endpoints/:id/deliveries', { config: { scope: 'webhooks:manage' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const endpoint = found(await webhookEndpoints.find(tenantId, request.params.id), request.params.id);
    const { state } = request.query;
    const pages = listPages(request, cursors);
    const filter = { endpointId: endpoint.id, ...(state === undefined ? {} : { state }) };
    const page = await webhookEndpoints.listDeliveries(tenantId, { limit: pages.limit, after: pages.after, filter });
    return pages.answer(reply, page, toDeliveryResource);
  });
}
