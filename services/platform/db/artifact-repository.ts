/** What jobs produced, read side: rows, never bytes. */

import type { Database } from './database.js';
import type { Artifact } from './generated/client.js';

export type ArtifactRecord = Omit<Artifact, 'bytes'> & { readonly bytes: number };

export interface ArtifactRepository {
  find(tenantId: string, id: string): Promise<ArtifactRecord | null>;
  listOfJob(tenantId: string, jobId: string): Promise<readonly ArtifactRecord[]>;
}

function toRecord(row: Artifact): ArtifactRecord {
  return { ...row, bytes: Number(row.bytes) };
}

export function artifactRepository({ db }: Database): ArtifactRepository {
  return {
    find: async (tenantId, id) => {
      const row = await db.artifact.findFirst({ where: { tenantId, id } });
      return row === null ? null : toRecord(row);
    },
    listOfJob: async (tenantId, jobId) =>
      (await db.artifact.findMany({ where: { tenantId, jobId }, orderBy: [{ createdAt: 'asc' }, { name: 'asc' }] })).map(toRecord),
  };
}
