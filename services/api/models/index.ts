/** The routes of /v1/models. */
import type { ApiDeps } from '../deps.js';
import type { Api } from '../http/typed-app.js';
import { deleteModel } from './delete-model.js';
import { getModel } from './get-model.js';
import { listModels } from './list-models.js';
import { type UploadModelDeps, uploadModel } from './upload-model.js';

export async function registerModels(app: Api, deps: UploadModelDeps & Pick<ApiDeps, 'cursors'>): Promise<void> {
  await uploadModel(app, deps);
  listModels(app, deps);
  getModel(app, deps);
  deleteModel(app, deps);
}
