/** GET /v1/datasets: newest first. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { DatasetResource, toDatasetResource } from './dataset-resource.js';

export function listDatasets(app: Api, { datasets, cursors }: Pick<ApiDeps, 'datasets' | 'cursors'>): void {
  const schema = {
    tags: ['datasets'],
    summary: 'List data sets',
    querystring: Type.Object(pageQuery, { additionalProperties: false }),
    response: { 200: listOf(DatasetResource), ...problemResponses },
  };
  app.get('/v1/datasets', { config: { scope: 'models:read' }, schema }, async (request, reply) => {
    const pages = listPages(request, cursors);
    return pages.answer(reply, await datasets.list(request.principal.tenantId, pages), toDatasetResource);
  });
}
