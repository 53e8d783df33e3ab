/** Bytes that nothing refers to: what a process left that was killed between storing them and writing the row, or while deleting. */
import type { BlobRepository, TenantBlob } from '#platform/db';
import type { BlobStore } from '#platform/storage';

export interface OrphanBlobDeps {
  readonly blobs: Pick<BlobStore, 'list' | 'delete'>;
  readonly blobRows: BlobRepository;
}

export interface BlobSweeperDeps extends OrphanBlobDeps {
  /** One line when something was removed. */
  readonly log: (fields: Readonly<Record<string, unknown>>) => void;
  readonly onError: (error: unknown) => void;
}

export interface BlobSweeper {
  /** Ends a sweep that runs after the blob that it is at. */
  close(): Promise<void>;
}

/** Bytes are in the store some time before their row: a job's for as long as its last file takes to be stored. */
const graceMs = 3_600_000;
const intervalMs = 3_600_000;
/** How often a process asks whether a sweep is due: another one may have died after its claim. */
const askMs = 600_000;
const pageSize = 500;

/**
 * Removes the blobs older than the grace that nothing refers to; returns how many. Each is looked at again under the lock of its
 * content, which uploads hold while they make sure of the bytes and write the row: whoever has the lock first, the row has its bytes.
 */
export async function removeOrphanBlobs({ blobs, blobRows }: OrphanBlobDeps, signal?: AbortSignal): Promise<number> {
  let removed = 0;
  for await (const page of pages(blobs.list(graceMs), signal)) {
    for (const { tenantId, sha256 } of await blobRows.findUnreferenced(page)) {
      if (signal?.aborted) return removed;
      if (await blobRows.removeIfUnreferenced(tenantId, sha256, () => blobs.delete(tenantId, sha256))) removed += 1;
    }
  }
  return removed;
}

async function* pages(names: AsyncIterable<TenantBlob>, signal?: AbortSignal): AsyncGenerator<TenantBlob[]> {
  let page: TenantBlob[] = [];
  for await (const name of names) {
    if (signal?.aborted) return;
    page.push(name);
    if (page.length < pageSize) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

/** Sweeps once an hour in one of all the processes, beside the reconciler: a large store takes longer than its looks may wait. */
export function startBlobSweeper(deps: BlobSweeperDeps): BlobSweeper {
  const stop = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  const sweep = async () => {
    if (!(await deps.blobRows.claimSweep(intervalMs))) return;
    const removed = await removeOrphanBlobs(deps, stop.signal);
    if (removed > 0) deps.log({ orphan_blobs: removed });
  };
  const ask = () => {
    running = sweep()
      .catch(deps.onError)
      .then(() => {
        if (!stop.signal.aborted) timer = setTimeout(ask, askMs);
      });
  };
  ask();
  return {
    close: () => {
      stop.abort();
      clearTimeout(timer);
      return running;
    },
  };
}
