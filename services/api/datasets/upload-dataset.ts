/** POST /v1/datasets: stream -> staged file -> headers of its arrays -> blob and row, or nothing at all. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { acceptStreams, receiveUpload } from '../uploads/receive-upload.js';
import { storeBlobs } from '../uploads/store-blobs.js';
import { withUploadFolder } from '../uploads/upload-folder.js';
import { DatasetResource, toDatasetResource } from './dataset-resource.js';
import { readArrayHeaders } from './read-array-headers.js';

export type UploadDatasetDeps = Pick<ApiDeps, 'datasets' | 'blobs' | 'blobRows' | 'staging' | 'uploadFolder' | 'limits' | 'metrics'>;

const Query = Type.Object({ name: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) }, { additionalProperties: false });

export async function uploadDataset(app: Api, deps: UploadDatasetDeps): Promise<void> {
  const maxBytes = deps.limits.uploadMaxBytes;
  await app.register(async (scope: Api) => {
    await acceptStreams(scope, maxBytes);
    const schema = {
      tags: ['datasets'],
      summary: 'Upload a data set',
      description: [
        'Body: a .npz whose arrays are named as the inputs of the model (and `labels`), first axis = samples; or one .npy. Samples of different sizes are one array each: `x_0`, `x_1`, ...',
        'Raw or multipart/form-data (`name`, `file`). Pickled arrays are refused.',
        'Content that is there already is not stored twice: the answer is 200 with the data set that has it.',
      ].join(' '),
      consumes: ['application/octet-stream', 'multipart/form-data'],
      querystring: Query,
      response: { 200: DatasetResource, 201: DatasetResource, ...problemResponses },
    };
    scope.post(
      '/v1/datasets',
      { config: { scope: 'models:write' }, schema, bodyLimit: Number.MAX_SAFE_INTEGER },
      async (request, reply) => {
        const { tenantId } = request.principal;
        const { dataset, created } = await withUploadFolder(deps.uploadFolder, async (folder) => {
          const received = await receiveUpload(request, reply, { staging: deps.staging, folder, maxBytes });
          const facts = await readArrayHeaders(received.path, { maxBytes });
          const { sha256, bytes } = received;
          const row = { ...facts, name: received.name ?? `data.${facts.format}`, sha256, bytes };
          return storeBlobs(deps, { tenantId, files: [received] }, (ensureBytes) => deps.datasets.create(tenantId, row, ensureBytes));
        });
        request.facts.dataset_id = dataset.id;
        deps.metrics.uploadBytes.inc({ kind: 'dataset' }, dataset.bytes);
        reply.code(created ? 201 : 200).header('Location', `/v1/datasets/${dataset.id}`);
        return toDatasetResource(dataset);
      },
    );
  });
}
