/** The list of all routes with their scopes: for 405 answers and for the test that no route is without a scope. */
import type { ApiKeyScope } from '#contracts';
import type { Api } from '../http/typed-app.js';

export interface RouteEntry {
  readonly method: string;
  /** As registered, e.g. /v1/jobs/:id */
  readonly url: string;
  readonly pattern: RegExp;
  readonly scope: ApiKeyScope | 'any' | 'public' | undefined;
}

declare module 'fastify' {
  interface FastifyInstance {
    routeTable: RouteEntry[];
  }
}

export function addRouteTable(app: Api): void {
  const routes: RouteEntry[] = [];
  app.decorate('routeTable', routes);
  app.addHook('onRoute', ({ method, url, config }) => {
    const pattern = new RegExp(`^${url.replace(/:[^/]+/g, '[^/]+').replace(/\*/g, '.*')}$`);
    for (const each of [method].flat()) routes.push({ method: each, url, pattern, scope: config?.scope });
  });
}
