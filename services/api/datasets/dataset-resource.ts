/** The data set as clients see it. */
import Type, { type Static } from 'typebox';
import type { DatasetRecord } from '../deps.js';
import { iso, Timestamp } from '../http/resource-schemas.js';

export const DatasetResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('dataset'),
  name: Type.String(),
  format: Type.Enum(['npz', 'npy']),
  sha256: Type.String(),
  bytes: Type.Integer(),
  sample_count: Type.Integer({ description: 'Length of the first axis of all arrays, or arrays per name where samples are numbered.' }),
  arrays: Type.Array(Type.Object({ name: Type.String(), dtype: Type.String(), shape: Type.Array(Type.Integer()) })),
  created_at: Timestamp,
});
export type DatasetResource = Static<typeof DatasetResource>;

export function toDatasetResource(dataset: DatasetRecord): DatasetResource {
  return {
    id: dataset.id,
    object: 'dataset',
    name: dataset.name,
    format: dataset.format === 'npy' ? 'npy' : 'npz',
    sha256: dataset.sha256,
    bytes: dataset.bytes,
    sample_count: dataset.sampleCount,
    arrays: dataset.arrays.map(({ name, dtype, shape }) => ({ name, dtype, shape: [...shape] })),
    created_at: iso(dataset.createdAt),
  };
}
