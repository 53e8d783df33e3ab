/** GET /v1/webhook-endpoints: newest first. */
import Type from 'typebox';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { type EndpointDeps, EndpointResource, toEndpointResource } from './endpoint-resource.js';

export function listEndpoints(app: Api, { webhookEndpoints, cursors }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'List webhook endpoints',
    querystring: Type.Object(pageQuery, { additionalProperties: false }),
    response: { 200: listOf(EndpointResource), ...problemResponses },
  };
  app.get('/v1/webhook-endpoints', { config: { scope: 'webhooks:manage' }, schema }, async (request, reply) => {
    const pages = listPages(request, cursors);
    return pages.answer(reply, await webhookEndpoints.list(request.principal.tenantId, pages), toEndpointResource);
  });
}
