/** POST /v1/webhook-endpoints: the answer is the one place where the secret is shown. */
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { type EndpointDeps, EndpointRequest, EndpointWithSecret, newWebhookSecret, toEndpointResource } from './endpoint-resource.js';

export function createEndpoint(app: Api, { webhookEndpoints, checkWebhookUrl }: EndpointDeps): void {
  const schema = {
    tags: ['webhooks'],
    summary: 'Create a webhook endpoint',
    body: EndpointRequest,
    response: { 201: EndpointWithSecret, ...problemResponses },
  };
  app.post('/v1/webhook-endpoints', { config: { scope: 'webhooks:manage' }, schema }, async (request, reply) => {
    const { url, events = ['*' as const], format = 'standard' as const, description = '', enabled = true } = request.body;
    await checkWebhookUrl(url);
    const secret = newWebhookSecret();
    const { tenantId } = request.principal;
    const endpoint = await webhookEndpoints.create(tenantId, { url, events, format, description, enabled, secret });
    reply.code(201).header('Location', `/v1/webhook-endpoints/${endpoint.id}`);
    return { ...toEndpointResource(endpoint), secret };
  });
}
