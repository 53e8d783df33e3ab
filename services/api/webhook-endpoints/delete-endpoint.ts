/** DELETE /v1/webhook-endpoints/{id}: nothing more is sent to it; its deliveries stay on record. */
import Type from 'typebox';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { type EndpointDeps, found } from './endpoint-resource.js';

export function deleteEndpoint(app: Api, { webhookEndpoints }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Delete a webhook endpoint',
    params: idParams('webhookEndpoint'),
    response: { 204: Type.Null({ description: 'Deleted.' }), ...problemResponses },
  };
  app.delete('/v1/webhook-endpoints/:id', { config: { scope: 'webhooks:manage' }, schema }, async (request, reply) => {
    const removed = await webhookEndpoints.remove(request.principal.tenantId, request.params.id);
    found(removed ? true : null, request.params.id);
    return reply.code(204).send(null);
  });
}
