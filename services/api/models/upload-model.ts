/** POST /v1/models: stream -> staged file -> inspection in a thread -> blobs and row, or nothing at all. */
import path from 'node:path';
import Type from 'typebox';
import type { ApiDeps, ModelFile, NewModel } from '../deps.js';
import { sha256OfJson } from '../http/idempotency-key.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';
import { inspectUpload } from '../uploads/inspect-upload.js';
import { acceptStreams, type ReceivedFile, receiveUpload } from '../uploads/receive-upload.js';
import { storeBlobs } from '../uploads/store-blobs.js';
import { archiveFormat, type UnpackedFile, unpackArchive } from '../uploads/unpack-archive.js';
import { withUploadFolder } from '../uploads/upload-folder.js';
import { ModelResource, toModelResource } from './model-resource.js';

export type UploadModelDeps = Pick<ApiDeps, 'models' | 'blobs' | 'blobRows' | 'staging' | 'uploadFolder' | 'limits' | 'metrics'>;

const Query = Type.Object({ name: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })) }, { additionalProperties: false });

export async function uploadModel(app: Api, deps: UploadModelDeps): Promise<void> {
  await app.register(async (scope: Api) => {
    await acceptStreams(scope, deps.limits.uploadMaxBytes);
    const schema = {
      tags: ['models'],
      summary: 'Upload a model',
      description: [
        'Body: an .onnx file, or a .zip, .tar or .tar.gz with one .onnx and its external data, raw or as multipart/form-data (`name`, `file`).',
        'Declare Repr-Digest or X-Checksum-Sha256 and the upload is refused when it arrives damaged.',
        'Content that is there already is not stored twice: the answer is 200 with the model that has it.',
      ].join(' '),
      consumes: ['application/octet-stream', 'multipart/form-data'],
      querystring: Query,
      response: { 200: ModelResource, 201: ModelResource, ...problemResponses },
    };
    scope.post('/v1/models', { config: { scope: 'models:write' }, schema, bodyLimit: Number.MAX_SAFE_INTEGER }, async (request, reply) => {
      const { tenantId } = request.principal;
      const { model, created } = await withUploadFolder(deps.uploadFolder, async (folder) => {
        const target = { staging: deps.staging, folder, maxBytes: deps.limits.uploadMaxBytes };
        const received = await receiveUpload(request, reply, target);
        const { files, staged, ...facts } = await examine(received, { folder, maxBytes: deps.limits.uploadMaxBytes });
        return storeBlobs(deps, { tenantId, files: staged }, (ensureBytes) =>
          deps.models.create(tenantId, { ...facts, files }, ensureBytes),
        );
      });
      request.facts.model_id = model.id;
      deps.metrics.uploadBytes.inc({ kind: 'model' }, model.bytes);
      reply.code(created ? 201 : 200).header('Location', `/v1/models/${model.id}`);
      return toModelResource(model);
    });
  });
}

interface Examined extends NewModel {
  readonly staged: readonly { readonly path: string; readonly sha256: string }[];
}

async function examine(received: ReceivedFile, limits: { folder: string; maxBytes: number }): Promise<Examined> {
  const format = await archiveFormat(received.path);
  if (format === null) return examineFile(received);
  const unpacked = await unpackArchive(received.path, { format, ...limits });
  const modelPath = path.join(unpacked.folder, unpacked.modelName);
  const { inspection, externalData } = await inspectUpload({ modelPath });
  const needed = new Set([unpacked.modelName, ...externalData.map((location) => path.posix.normalize(location))]);
  const files = unpacked.files.filter((file) => needed.has(file.path)).map((file) => toModelFile(file, unpacked.modelName));
  const [main] = files.filter((file) => file.role === 'model');
  return {
    name: received.name ?? unpacked.modelName,
    sha256: files.length === 1 && main !== undefined ? main.sha256 : manifestSha256(files),
    files,
    inspection,
    staged: files.map((file) => ({ path: path.join(unpacked.folder, file.path), sha256: file.sha256 })),
  };
}

async function examineFile(received: ReceivedFile): Promise<Examined> {
  const { inspection } = await inspectUpload({ modelPath: received.path });
  const { sha256, bytes } = received;
  return {
    name: received.name ?? 'model.onnx',
    sha256,
    files: [{ path: 'model.onnx', bytes, sha256, role: 'model' }],
    inspection,
    staged: [{ path: received.path, sha256 }],
  };
}

function toModelFile({ path: file, bytes, sha256 }: UnpackedFile, modelName: string): ModelFile {
  return { path: file, bytes, sha256, role: file === modelName ? 'model' : 'external_data' };
}

/** One digest for several files: of their sorted list. */
function manifestSha256(files: readonly ModelFile[]): string {
  const sorted = files.map(({ path: file, sha256 }) => ({ path: file, sha256 })).sort((a, b) => (a.path < b.path ? -1 : 1));
  return sha256OfJson(sorted);
}
