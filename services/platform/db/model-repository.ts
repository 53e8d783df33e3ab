/** Uploaded models: rows, never bytes. */
import { newId } from '#contracts';
import { type BlobContent, registerBlobs } from './blob-repository.js';
import type { Database } from './database.js';
import type { Model, Prisma } from './generated/client.js';
import { afterPosition, newestFirst, type Page, type PageRequest, toPage } from './page.js';

export interface ModelFile {
  /** Relative to the .onnx file. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly role: 'model' | 'external_data';
}

export type ModelRecord = Omit<Model, 'files' | 'inspection' | 'bytes'> & {
  readonly bytes: number;
  readonly files: readonly ModelFile[];
  readonly inspection: Readonly<Record<string, unknown>>;
};

export interface NewModel {
  readonly name: string;
  readonly sha256: string;
  readonly files: readonly ModelFile[];
  /** A JSON document. */
  readonly inspection: object;
}

export type ModelRemoval =
  | { readonly outcome: 'removed'; readonly model: ModelRecord }
  | { readonly outcome: 'not_found' }
  | { readonly outcome: 'in_use' };

export interface ModelRepository {
  /**
   * Stores the row, or finds the one of the same content. `ensureBytes` runs under the lock of the contents, so that no
   * deletion can take bytes away that this row needs.
   */
  create(tenantId: string, model: NewModel, ensureBytes: () => Promise<void>): Promise<{ model: ModelRecord; created: boolean }>;
  find(tenantId: string, id: string): Promise<ModelRecord | null>;
  list(tenantId: string, page: PageRequest): Promise<Page<ModelRecord>>;
  /** 'in_use' while a job that has not ended names it, as its model or as its teacher. */
  remove(tenantId: string, id: string): Promise<ModelRemoval>;
}

function toRecord(row: Model): ModelRecord {
  return {
    ...row,
    bytes: Number(row.bytes),
    files: row.files as unknown as readonly ModelFile[],
    inspection: row.inspection as Record<string, unknown>,
  };
}

export function modelRepository(database: Database): ModelRepository {
  const { db } = database;
  return {
    create: (tenantId, model, ensureBytes) =>
      database.transaction(async (tx) => {
        const blobs: BlobContent[] = model.files.map(({ sha256, bytes }) => ({ sha256, bytes }));
        await registerBlobs(tx, tenantId, blobs);
        const existing = await tx.model.findFirst({ where: { tenantId, sha256: model.sha256, deletedAt: null } });
        if (existing !== null) return { model: toRecord(existing), created: false };
        await ensureBytes();
        const row = await tx.model.create({
          data: {
            id: newId('model'),
            tenantId,
            name: model.name,
            sha256: model.sha256,
            bytes: BigInt(blobs.reduce((sum, blob) => sum + blob.bytes, 0)),
            files: model.files as unknown as Prisma.InputJsonArray,
            inspection: model.inspection as Prisma.InputJsonObject,
          },
        });
        return { model: toRecord(row), created: true };
      }),
    find: async (tenantId, id) => {
      const row = await db.model.findFirst({ where: { tenantId, id, deletedAt: null } });
      return row === null ? null : toRecord(row);
    },
    list: async (tenantId, { limit, after }) => {
      const where = { tenantId, deletedAt: null, ...afterPosition(after) };
      return toPage((await db.model.findMany({ where, orderBy: newestFirst, take: limit + 1 })).map(toRecord), limit);
    },
    remove: (tenantId, id) =>
      database.transaction(async (tx) => {
        // The row lock orders this against job creation, which takes FOR SHARE on the same row.
        await tx.$executeRaw`SELECT FROM model WHERE tenant_id = ${tenantId} AND id = ${id} FOR UPDATE`;
        const row = await tx.model.findFirst({ where: { tenantId, id, deletedAt: null } });
        if (row === null) return { outcome: 'not_found' as const };
        const users = { OR: [{ modelId: id }, { teacherModelId: id }], state: { in: ['queued', 'running', 'canceling'] } };
        if ((await tx.job.count({ where: { tenantId, ...users } })) > 0) return { outcome: 'in_use' as const };
        await tx.model.update({ where: { id }, data: { deletedAt: new Date() } });
        return { outcome: 'removed' as const, model: toRecord(row) };
      }),
  };
}
