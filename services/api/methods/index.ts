/** The routes that say what can be asked for: /v1/methods, /v1/presets, /v1/limits. */
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { getLimits } from './get-limits.js';
import { listMethods } from './list-methods.js';
import { listPresets } from './list-presets.js';

export function registerMethods(app: Api, deps: Pick<ApiDeps, 'limits'>): void {
  listMethods(app);
  listPresets(app);
  getLimits(app, deps);
}
