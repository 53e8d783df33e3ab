/** Bytes that a killed process left are swept away; bytes that anything needs, or is about to need, are not. */
import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { newId } from '#contracts';
import { type BlobRepository, blobRepository, datasetRepository, lockBlob } from '#platform/db';
import { storeBlobs } from '../../../services/api/uploads/store-blobs.js';
import { storeOutputs } from '../../../services/worker/compression/job-outputs.js';
import { removeOrphanBlobs, startBlobSweeper } from '../../../services/worker/maintenance/orphan-blobs.js';
import { JobWorld } from '../../support/job-world.js';
import { patient } from '../../support/patient.js';

let world: JobWorld;
let blobRows: BlobRepository;
beforeAll(async () => {
  world = await JobWorld.open();
  blobRows = blobRepository(world.database);
});
afterAll(() => world.close());

async function newFile() {
  const content = randomBytes(64);
  const file = path.join(world.config.dataDir, randomBytes(8).toString('hex'));
  await writeFile(file, content);
  return { path: file, sha256: createHash('sha256').update(content).digest('hex'), bytes: content.length };
}
/** As if the bytes had been written long ago. */
async function age(sha256: string, tenantId = world.tenant) {
  const key = path.join('blobs', tenantId, 'sha256', sha256.slice(0, 2), sha256.slice(2, 4), sha256);
  if (world.config.storage.kind !== 'filesystem') throw new Error('This test needs files');
  await utimes(path.join(world.config.storage.root, key), new Date(0), new Date(0));
}
async function has(sha256: string, tenantId = world.tenant) {
  return (await world.blobs.stat(tenantId, sha256)) !== undefined;
}
function addDataset({ sha256, bytes }: { sha256: string; bytes: number }, ensureBytes: () => Promise<void>) {
  const row = { name: 'test', sha256, bytes, format: 'npz' as const, sampleCount: 1, arrays: [] };
  return datasetRepository(world.database).create(world.tenant, row, ensureBytes);
}
/** Bytes as an upload leaves them that is killed before its row. */
async function orphan(tenantId = world.tenant) {
  const file = await newFile();
  await world.blobs.putFile(tenantId, file.path);
  await age(file.sha256, tenantId);
  return file;
}
const sweep = (blobs = world.blobs) => removeOrphanBlobs({ blobs, blobRows });

it('removes old bytes without a reference, with their row if there is one, and nothing else', async () => {
  const [lost, lostWithRow, fresh, used] = [await orphan(), await orphan(), await newFile(), await orphan()];
  await world.blobs.putFile(world.tenant, fresh.path);
  await world.database.db.blob.create({ data: { tenantId: world.tenant, sha256: lostWithRow.sha256, bytes: 64n } });
  await addDataset(used, async () => undefined);
  const model = await world.database.db.model.findUniqueOrThrow({ where: { id: await world.storeModel(world.tenant, randomBytes(64)) } });
  await age(model.sha256);
  expect(await sweep()).toBe(2);
  for (const { sha256 } of [lost, lostWithRow]) expect(await has(sha256)).toBe(false);
  for (const { sha256 } of [fresh, used, model]) expect(await has(sha256)).toBe(true);
  const rows = await world.database.db.blob.findMany({ where: { tenantId: world.tenant } });
  expect(rows.map(({ sha256 }) => sha256)).toEqual([used.sha256]);
  expect(await sweep()).toBe(0);
});

it('leaves alone the bytes of a tenant that this database does not know', async () => {
  const elsewhere = newId('tenant');
  const { sha256 } = await orphan(elsewhere);
  expect(await sweep()).toBe(0);
  expect(await has(sha256, elsewhere)).toBe(true);
});

it('an upload that found the bytes and gets the lock first keeps them', async () => {
  const file = await orphan();
  const [locked, waiting] = [new EventEmitter(), new EventEmitter()];
  const isLocked = once(locked, 'now');
  const uploading = storeBlobs({ blobs: world.blobs, blobRows }, { tenantId: world.tenant, files: [file] }, (ensureBytes) =>
    addDataset(file, async () => {
      locked.emit('now');
      await once(waiting, 'over');
      await ensureBytes();
    }),
  );
  await isLocked;
  const sweeping = sweep();
  await vi.waitFor(async () => expect(await advisoryWaiters()).toBe(1), patient);
  waiting.emit('over');
  expect(await sweeping).toBe(0);
  await uploading;
  expect(await has(file.sha256)).toBe(true);
});

it('an upload that found the bytes before the sweep took them has them again when its row is written', async () => {
  const file = await orphan();
  const swept: number[] = [];
  await storeBlobs({ blobs: world.blobs, blobRows }, { tenantId: world.tenant, files: [file] }, async (ensureBytes) => {
    swept.push(await sweep());
    expect(await has(file.sha256)).toBe(false);
    return addDataset(file, ensureBytes);
  });
  expect(swept).toEqual([1]);
  expect(await has(file.sha256)).toBe(true);
});

it('the files of a job that found their bytes before the sweep took them are stored again when it ends', async () => {
  const model = await orphan();
  const reportPath = path.join(world.config.dataDir, 'report.json');
  await writeFile(reportPath, '{}');
  const htmlReportPath = path.join(world.config.dataDir, 'report.html');
  await writeFile(htmlReportPath, '');
  // A store that keeps what it has, as S3 does: the bytes stay old.
  const blobs = {
    stat: (tenantId: string, sha256: string) => world.blobs.stat(tenantId, sha256),
    async putFile(tenantId: string, source: string) {
      const stored = source === model.path && (await has(model.sha256));
      return stored ? model : world.blobs.putFile(tenantId, source);
    },
  };
  const finished = { kind: 'finished' as const, gatePassed: true, missed: [], modelFiles: [model.path], reportPath, htmlReportPath };
  const options = { tenantId: world.tenant, outDir: world.config.dataDir, rejected: false };
  const { ensureStored } = await storeOutputs(blobs, finished, options);
  expect(await sweep()).toBe(1);
  await ensureStored();
  expect(await has(model.sha256)).toBe(true);
  await world.blobs.delete(world.tenant, model.sha256);
});

it('no sweep takes the bytes while someone else holds their lock', async () => {
  const file = await orphan();
  let sweeping: Promise<number> | undefined;
  await world.database.transaction(async (tx) => {
    await lockBlob(tx, world.tenant, file.sha256);
    sweeping = sweep();
    await vi.waitFor(async () => expect(await advisoryWaiters()).toBe(1), patient);
    expect(await has(file.sha256)).toBe(true);
  });
  expect(await sweeping).toBe(1);
});

it('of several processes one sweeps, and none again before the hour is over', async () => {
  const { sha256 } = await orphan();
  const lines: unknown[] = [];
  const start = () =>
    startBlobSweeper({
      blobs: world.blobs,
      blobRows,
      log: (fields) => lines.push(fields),
      onError: (error) => lines.push(error),
    });
  const sweepers = [start(), start(), start()];
  await vi.waitFor(async () => expect(await has(sha256)).toBe(false), patient);
  for (const sweeper of sweepers) await sweeper.close();
  expect(lines).toEqual([{ orphan_blobs: 1 }]);
  expect(await blobRows.claimSweep(3_600_000)).toBe(false);
  expect(await blobRows.claimSweep(0)).toBe(true);
});

async function advisoryWaiters(): Promise<number> {
  const [row] = await world.database.db.$queryRaw<{ waiting: number }[]>`
    SELECT count(*)::int AS waiting FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
  return row?.waiting ?? 0;
}
