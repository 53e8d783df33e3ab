/** The routes of /v1/artifacts. */
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { downloadArtifact } from './download-artifact.js';
import { getArtifact } from './get-artifact.js';

export function registerArtifacts(app: Api, deps: Pick<ApiDeps, 'artifacts' | 'blobs'>): void {
  getArtifact(app, deps);
  downloadArtifact(app, deps);
}
