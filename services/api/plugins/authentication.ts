/** API key -> principal on the request. Each route names the scope it needs; a route without one answers nobody. */
import type { FastifyRequest } from 'fastify';
import { type ApiKeyScope, AppError } from '#contracts';
import type { Api } from '../http/typed-app.js';

/** Who is calling. */
export interface Principal {
  readonly tenantId: string;
  readonly apiKeyId: string;
  readonly scopes: ReadonlySet<ApiKeyScope>;
}

/** 'any': every valid key; 'public': no key. */
export type RouteScope = ApiKeyScope | 'any' | 'public';

declare module 'fastify' {
  interface FastifyRequest {
    principal: Principal;
  }
  interface FastifyContextConfig {
    scope?: RouteScope;
  }
}

export interface AuthenticationDeps {
  readonly apiKeys: { authenticate(key: string): Promise<Principal | null> };
}

const nobody: Principal = { tenantId: '', apiKeyId: '', scopes: new Set() };

export function addAuthentication(app: Api, { apiKeys }: AuthenticationDeps): void {
  app.decorateRequest('principal');
  app.addHook('onRequest', async (request) => {
    request.principal = nobody;
    await app.refuseGuessing(request);
    if (request.is404) return;
    const { scope } = request.routeOptions.config;
    if (scope === 'public') return;
    const key = presentedKey(request);
    const principal = key === null ? null : await apiKeys.authenticate(key);
    if (principal === null) throw unauthenticated(key);
    request.principal = principal;
    if (scope !== 'any' && (scope === undefined || !isAllowed(principal, scope))) throw insufficientScope(scope);
  });
}

function presentedKey({ headers }: FastifyRequest): string | null {
  const header = headers['x-api-key'];
  if (typeof header === 'string') return header.trim();
  return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1] ?? null;
}

function isAllowed({ scopes }: Principal, scope: ApiKeyScope): boolean {
  return scopes.has(scope) || scopes.has('admin');
}

function unauthenticated(key: string | null): AppError {
  const challenge = key === null ? 'Bearer' : 'Bearer error="invalid_token"';
  const text = key === null ? 'Send an API key: Authorization: Bearer <key>, or X-API-Key.' : 'The API key is not valid.';
  return new AppError('unauthenticated', text, { headers: { 'WWW-Authenticate': challenge } });
}

function insufficientScope(scope: ApiKeyScope | undefined): AppError {
  const challenge = `Bearer error="insufficient_scope", scope="${scope ?? ''}"`;
  return new AppError('insufficient_scope', `This needs a key with the scope ${scope ?? ''}.`, {
    headers: { 'WWW-Authenticate': challenge },
  });
}
