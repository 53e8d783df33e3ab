/** The routes of /v1/api-keys. */
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { createApiKey } from './create-api-key.js';
import { listApiKeys } from './list-api-keys.js';
import { revokeApiKey } from './revoke-api-key.js';

export function registerApiKeys(app: Api, deps: Pick<ApiDeps, 'apiKeys' | 'cursors'>): void {
  createApiKey(app, deps);
  listApiKeys(app, deps);
  revokeApiKey(app, deps);
}
