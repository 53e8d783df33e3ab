/** GET /v1/artifacts/{id}: name, size and digest of one file that a job has produced. */

import { AppError } from '#contracts';
import type { ApiDeps, ArtifactRecord } from '../deps.js';
import { ArtifactResource, toArtifactResource } from '../http/artifact-resource.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';

export async function findArtifact({ artifacts }: Pick<ApiDeps, 'artifacts'>, tenantId: string, id: string): Promise<ArtifactRecord> {
  const artifact = await artifacts.find(tenantId, id);
  if (artifact === null) throw new AppError('not_found', `No artifact has id ${id}.`);
  return artifact;
}

export function getArtifact(app: Api, deps: Pick<ApiDeps, 'artifacts'>): void {
  const schema = {
    tags: ['artifacts'],
    summary: 'Get an artifact',
    params: idParams('artifact'),
    response: { 200: ArtifactResource, ...problemResponses },
  };
  app.get('/v1/artifacts/:id', { config: { scope: 'artifacts:read' }, schema }, async (request) =>
    toArtifactResource(await findArtifact(deps, request.principal.tenantId, request.params.id)),
  );
}
