/** The model as clients see it. */
import Type, { type Static } from 'typebox';
import type { ModelRecord } from '../deps.js';
import { iso, Timestamp } from '../http/resource-schemas.js';

export const ModelSummary = Type.Object({
  id: Type.String(),
  object: Type.Literal('model'),
  name: Type.String(),
  sha256: Type.String({ description: 'Of the .onnx file; of the list of files when there are several.' }),
  bytes: Type.Integer(),
  files: Type.Array(
    Type.Object({
      path: Type.String(),
      bytes: Type.Integer(),
      sha256: Type.String(),
      role: Type.Enum(['model', 'external_data']),
    }),
  ),
  created_at: Timestamp,
});

export const ModelResource = Type.Object({
  ...ModelSummary.properties,
  inspection: Type.Record(Type.String(), Type.Unknown(), {
    description: 'Operator sets, inputs, outputs, operators, parameters, bytes of weights, what is already quantized.',
  }),
});
export type ModelResource = Static<typeof ModelResource>;

export function toModelSummary(model: ModelRecord): Static<typeof ModelSummary> {
  return {
    id: model.id,
    object: 'model',
    name: model.name,
    sha256: model.sha256,
    bytes: model.bytes,
    files: model.files.map((file) => ({ ...file })),
    created_at: iso(model.createdAt),
  };
}

export function toModelResource(model: ModelRecord): ModelResource {
  return { ...toModelSummary(model), inspection: { ...model.inspection } };
}
