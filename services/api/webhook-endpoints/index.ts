/** The routes of /v1/webhook-endpoints. */
import type { Api } from '../http/typed-app.js';
import { createEndpoint } from './create-endpoint.js';
import { deleteEndpoint } from './delete-endpoint.js';
import type { EndpointDeps } from './endpoint-resource.js';
import { getDelivery } from './get-delivery.js';
import { getEndpoint } from './get-endpoint.js';
import { listDeliveries } from './list-deliveries.js';
import { listEndpoints } from './list-endpoints.js';
import { pingEndpoint } from './ping-endpoint.js';
import { replayDelivery } from './replay-delivery.js';
import { rotateSecret } from './rotate-secret.js';
import { updateEndpoint } from './update-endpoint.js';

export function registerWebhookEndpoints(app: Api, deps: EndpointDeps): void {
  createEndpoint(app, deps);
  listEndpoints(app, deps);
  getEndpoint(app, deps);
  updateEndpoint(app, deps);
  deleteEndpoint(app, deps);
  rotateSecret(app, deps);
  pingEndpoint(app, deps);
  listDeliveries(app, deps);
  getDelivery(app, deps);
  replayDelivery(app, deps);
}
