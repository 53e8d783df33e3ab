/** Uploaded data sets: rows, never bytes. */
import { newId } from '#contracts';
import { registerBlobs } from './blob-repository.js';
import type { Database } from './database.js';
import type { Dataset, Prisma } from './generated/client.js';
import { afterPosition, newestFirst, type Page, type PageRequest, toPage } from './page.js';

export interface DatasetArray {
  readonly name: string;
  /** numpy's name of the element type, e.g. float32. */
  readonly dtype: string;
  readonly shape: readonly number[];
}

export type DatasetRecord = Omit<Dataset, 'arrays' | 'bytes'> & { readonly bytes: number; readonly arrays: readonly DatasetArray[] };

export interface NewDataset {
  readonly name: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly format: 'npz' | 'npy';
  readonly sampleCount: number;
  readonly arrays: readonly DatasetArray[];
}

export type DatasetRemoval =
  | { readonly outcome: 'removed'; readonly dataset: DatasetRecord }
  | { readonly outcome: 'not_found' }
  | { readonly outcome: 'in_use' };

export interface DatasetRepository {
  /** Stores the row, or finds the one of the same content; `ensureBytes` runs under the lock of the content. */
  create(tenantId: string, dataset: NewDataset, ensureBytes: () => Promise<void>): Promise<{ dataset: DatasetRecord; created: boolean }>;
  find(tenantId: string, id: string): Promise<DatasetRecord | null>;
  list(tenantId: string, page: PageRequest): Promise<Page<DatasetRecord>>;
  /** 'in_use' while a job that has not ended names it. */
  remove(tenantId: string, id: string): Promise<DatasetRemoval>;
}

function toRecord(row: Dataset): DatasetRecord {
  return { ...row, bytes: Number(row.bytes), arrays: row.arrays as unknown as readonly DatasetArray[] };
}

export function datasetRepository(database: Database): DatasetRepository {
  const { db } = database;
  return {
    create: (tenantId, dataset, ensureBytes) =>
      database.transaction(async (tx) => {
        await registerBlobs(tx, tenantId, [{ sha256: dataset.sha256, bytes: dataset.bytes }]);
        const existing = await tx.dataset.findFirst({ where: { tenantId, sha256: dataset.sha256, deletedAt: null } });
        if (existing !== null) return { dataset: toRecord(existing), created: false };
        await ensureBytes();
        const { bytes, arrays, ...rest } = dataset;
        const data = {
          ...rest,
          id: newId('dataset'),
          tenantId,
          bytes: BigInt(bytes),
          arrays: arrays as unknown as Prisma.InputJsonArray,
        };
        return { dataset: toRecord(await tx.dataset.create({ data })), created: true };
      }),
    find: async (tenantId, id) => {
      const row = await db.dataset.findFirst({ where: { tenantId, id, deletedAt: null } });
      return row === null ? null : toRecord(row);
    },
    list: async (tenantId, { limit, after }) => {
      const where = { tenantId, deletedAt: null, ...afterPosition(after) };
      return toPage((await db.dataset.findMany({ where, orderBy: newestFirst, take: limit + 1 })).map(toRecord), limit);
    },
    remove: (tenantId, id) =>
      database.transaction(async (tx) => {
        // The row lock orders this against job creation, which takes FOR SHARE on the same row.
        await tx.$executeRaw`SELECT FROM dataset WHERE tenant_id = ${tenantId} AND id = ${id} FOR UPDATE`;
        const row = await tx.dataset.findFirst({ where: { tenantId, id, deletedAt: null } });
        if (row === null) return { outcome: 'not_found' as const };
        const users = { OR: [{ calibrationId: id }, { evaluationId: id }], state: { in: ['queued', 'running', 'canceling'] } };
        if ((await tx.job.count({ where: { tenantId, ...users } })) > 0) return { outcome: 'in_use' as const };
        await tx.dataset.update({ where: { id }, data: { deletedAt: new Date() } });
        return { outcome: 'removed' as const, dataset: toRecord(row) };
      }),
  };
}
