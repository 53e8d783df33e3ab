/** Which bytes exist, by content. A lock per content orders "store again" against "remove the last reference". */
import type { Database, Db } from './database.js';

export interface BlobContent {
  readonly sha256: string;
  readonly bytes: number;
}

/** A content of one tenant. */
export interface TenantBlob {
  readonly tenantId: string;
  readonly sha256: string;
}

export interface BlobRepository {
  /**
   * Forgets the blob when nothing refers to it; `removeBytes` runs under the content's lock, before the lock is given up.
   * True when it was removed.
   */
  removeIfUnreferenced(tenantId: string, sha256: string, removeBytes: () => Promise<void>): Promise<boolean>;
  /**
   * Those that no model, data set or artifact refers to just now, without any lock. Blobs of tenants that this database does not
   * know are left out: another installation may share the store.
   */
  findUnreferenced(blobs: readonly TenantBlob[]): Promise<readonly TenantBlob[]>;
  /** True for one caller of all processes, then for nobody until `intervalMs` have passed. */
  claimSweep(intervalMs: number): Promise<boolean>;
}

/** Held until the transaction ends. Take several in sorted order (registerBlobs does). */
export async function lockBlob(tx: Db, tenantId: string, sha256: string): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended(${`blob:${tenantId}:${sha256}`}, 0))`;
}

/** Locks the contents and writes their rows. The caller makes sure afterwards, under the lock, that the bytes are there. */
export async function registerBlobs(tx: Db, tenantId: string, blobs: readonly BlobContent[]): Promise<void> {
  const byHash = [...new Map(blobs.map((blob) => [blob.sha256, blob])).values()].sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
  for (const blob of byHash) await lockBlob(tx, tenantId, blob.sha256);
  const data = byHash.map(({ sha256, bytes }) => ({ tenantId, sha256, bytes: BigInt(bytes) }));
  await tx.blob.createMany({ data, skipDuplicates: true });
}

async function isReferenced(tx: Db, tenantId: string, sha256: string): Promise<boolean> {
  const file = JSON.stringify([{ sha256 }]);
  const [row] = await tx.$queryRaw<{ referenced: boolean }[]>`
    SELECT EXISTS (SELECT FROM model WHERE tenant_id = ${tenantId} AND deleted_at IS NULL AND files @> ${file}::jsonb)
        OR EXISTS (SELECT FROM dataset WHERE tenant_id = ${tenantId} AND deleted_at IS NULL AND sha256 = ${sha256})
        OR EXISTS (SELECT FROM artifact WHERE tenant_id = ${tenantId} AND sha256 = ${sha256}) AS referenced`;
  return row?.referenced ?? true;
}

async function findUnreferenced(db: Db, blobs: readonly TenantBlob[]): Promise<readonly TenantBlob[]> {
  return db.$queryRaw<TenantBlob[]>`
    WITH referenced AS (
      SELECT tenant_id, file ->> 'sha256' AS sha256 FROM model, jsonb_array_elements(files) AS file WHERE deleted_at IS NULL
      UNION ALL SELECT tenant_id, sha256 FROM dataset WHERE deleted_at IS NULL
      UNION ALL SELECT tenant_id, sha256 FROM artifact)
    SELECT candidate.tenant_id AS "tenantId", candidate.sha256
    FROM unnest(${blobs.map(({ tenantId }) => tenantId)}::text[], ${blobs.map(({ sha256 }) => sha256)}::text[]) AS candidate (tenant_id, sha256)
    JOIN tenant ON tenant.id = candidate.tenant_id
    WHERE NOT EXISTS (
      SELECT FROM referenced WHERE referenced.tenant_id = candidate.tenant_id AND referenced.sha256 = candidate.sha256)`;
}

/** The time of the last claim is kept by the database, so that clocks of processes do not matter. */
async function claimSweep(db: Db, intervalMs: number): Promise<boolean> {
  const claimed = await db.$executeRaw`
    INSERT INTO instance_setting (name, value) VALUES ('blob_sweep_at', now()::text)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
      WHERE instance_setting.value::timestamptz <= now() - ${intervalMs} * interval '1 millisecond'`;
  return claimed === 1;
}

export function blobRepository(database: Database): BlobRepository {
  return {
    findUnreferenced: (blobs) => findUnreferenced(database.db, blobs),
    claimSweep: (intervalMs) => claimSweep(database.db, intervalMs),
    removeIfUnreferenced: (tenantId, sha256, removeBytes) =>
      database.transaction(async (tx) => {
        await lockBlob(tx, tenantId, sha256);
        if (await isReferenced(tx, tenantId, sha256)) return false;
        await tx.blob.deleteMany({ where: { tenantId, sha256 } });
        await removeBytes();
        return true;
      }),
  };
}
