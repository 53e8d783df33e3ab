/** GET /metrics: Prometheus text. Public like the probes: no label names a tenant, a job or an address. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';

export function registerMetrics(app: Api, { registry }: Pick<ApiDeps, 'registry'>): void {
  const config = { scope: 'public', exemptFromPressure: true } as const;
  const schema = { tags: ['health'], summary: 'Metrics for Prometheus', produces: ['text/plain'], response: { 200: Type.String() } };
  app.get('/metrics', { config, schema, logLevel: 'warn' }, async (_request, reply) => {
    const text = await registry.metrics();
    return reply.type(registry.contentType).send(text);
  });
}
