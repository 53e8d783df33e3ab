/** The routes of /v1/datasets. */
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { deleteDataset } from './delete-dataset.js';
import { getDataset } from './get-dataset.js';
import { listDatasets } from './list-datasets.js';
import { type UploadDatasetDeps, uploadDataset } from './upload-dataset.js';

export async function registerDatasets(app: Api, deps: UploadDatasetDeps & Pick<ApiDeps, 'cursors'>): Promise<void> {
  await uploadDataset(app, deps);
  listDatasets(app, deps);
  getDataset(app, deps);
  deleteDataset(app, deps);
}
