/** One wide line and one set of measurements per request; request ids from the client when they are harmless. */
import type { IncomingMessage } from 'node:http';
import { AppError, type ErrorCode, newId } from '#contracts';
import type { Api } from '../http/typed-app.js';

export interface RequestMetrics {
  observeRequest(labels: { readonly route: string; readonly method: string; readonly status: number }, seconds: number): void;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the error handler. */
    failure: { readonly code: ErrorCode; readonly error: Error | null } | null;
    /** Ids and sizes that a route wants in the line of its request. */
    facts: Record<string, string | number | boolean>;
  }
}

const harmlessId = /^[A-Za-z0-9._-]{1,128}$/;

export function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && harmlessId.test(given) ? given : newId('request');
}

export function addRequestLog(app: Api, metrics: RequestMetrics): void {
  app.decorateRequest('failure', null);
  app.decorateRequest('facts');
  app.addHook('onRequest', async (request, reply) => {
    request.facts = {};
    reply.header('X-Request-Id', request.id);
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.is404 ? 'none' : (request.routeOptions.url ?? 'none');
    metrics.observeRequest({ route, method: request.method, status: reply.statusCode }, reply.elapsedTime / 1_000);
    const { failure } = request;
    // Undefined when the request failed before it was looked at.
    const principal: typeof request.principal | undefined = request.principal;
    const line = {
      method: request.method,
      route,
      path: request.url.split('?')[0],
      status: reply.statusCode,
      duration_ms: Math.round(reply.elapsedTime * 10) / 10,
      ...(principal === undefined || principal.tenantId === '' ? {} : { tenant_id: principal.tenantId, api_key_id: principal.apiKeyId }),
      ...request.facts,
      ...(failure === null ? {} : { code: failure.code }),
    };
    const { error } = failure ?? {};
    if (reply.statusCode < 500) request.log.info({ ...line, ...(error instanceof AppError ? error.context : {}) }, 'request');
    else if (error instanceof AppError) request.log.warn({ ...line, ...error.context, detail: error.message }, 'request');
    else request.log.error({ ...line, err: error }, 'request');
  });
}
