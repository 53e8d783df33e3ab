/** buildApp(deps): plugins, then features, in reading order. No I/O of its own. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { LogController } from 'fastify';
import { registerApiKeys } from './api-keys/index.js';
import { registerArtifacts } from './artifacts/index.js';
import { registerDatasets } from './datasets/index.js';
import type { ApiDeps } from './deps.js';
import { registerHealth } from './health/index.js';
import { Problem } from './http/problem.js';
import type { Api } from './http/typed-app.js';
import { registerJobs } from './jobs/index.js';
import { registerMethods } from './methods/index.js';
import { registerMetrics } from './metrics/index.js';
import { registerModels } from './models/index.js';
import { addAuthentication } from './plugins/authentication.js';
import { addErrorHandler, answerFailure } from './plugins/error-handler.js';
import { addOpenApi, addOpenApiRoute } from './plugins/openapi.js';
import { addProtection, addSafeHeaders } from './plugins/protection.js';
import { addQueryCoercion } from './plugins/query-coercion.js';
import { addRequestLog, requestIdOf } from './plugins/request-log.js';
import { addRouteTable } from './plugins/route-table.js';
import { registerProblems } from './problems/index.js';
import { registerWebhookEndpoints } from './webhook-endpoints/index.js';

export async function buildApp(deps: ApiDeps, { version }: { readonly version: string }): Promise<Api> {
  const app = fastify({
    loggerInstance: deps.logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    frameworkErrors: answerFailure,
    genReqId: requestIdOf,
    bodyLimit: deps.limits.jsonBodyMaxBytes,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 256 },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false, allErrors: true } },
  }).withTypeProvider<TypeBoxTypeProvider>() as unknown as Api;

  app.addSchema(Problem);
  addRouteTable(app);
  addErrorHandler(app);
  addRequestLog(app, {
    observeRequest: ({ route, method, status }, seconds) =>
      deps.metrics.requestSeconds.observe({ route, method, status: String(status) }, seconds),
  });
  await addSafeHeaders(app);
  addAuthentication(app, deps);
  await addProtection(app, { requestsPerMinute: deps.limits.requestsPerMinute });
  addQueryCoercion(app);
  await addOpenApi(app, { version });

  registerProblems(app);
  registerHealth(app, deps);
  registerMetrics(app, deps);
  await registerModels(app, deps);
  await registerDatasets(app, deps);
  registerJobs(app, deps);
  registerArtifacts(app, deps);
  registerMethods(app, deps);
  registerWebhookEndpoints(app, deps);
  registerApiKeys(app, deps);
  addOpenApiRoute(app);
  return app;
}
