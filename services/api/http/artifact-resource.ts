/** The artifact as clients see it, alone and in the list of its job. */
import Type, { type Static } from 'typebox';
import type { ArtifactRecord } from '../deps.js';
import { iso, Timestamp } from './resource-schemas.js';

export const ArtifactResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('artifact'),
  job_id: Type.String(),
  name: Type.String({ description: 'File name.' }),
  role: Type.String({
    description:
      'model, rejected_model (it missed the gate of the recipe; the job has failed), external_data, report (report.json) or report_html (the same as a page for a person).',
  }),
  media_type: Type.String(),
  bytes: Type.Integer(),
  sha256: Type.String(),
  created_at: Timestamp,
  links: Type.Object({ self: Type.String(), content: Type.String(), job: Type.String() }),
});
export type ArtifactResource = Static<typeof ArtifactResource>;

export function toArtifactResource(artifact: ArtifactRecord): ArtifactResource {
  const self = `/v1/artifacts/${artifact.id}`;
  return {
    id: artifact.id,
    object: 'artifact',
    job_id: artifact.jobId,
    name: artifact.name,
    role: artifact.role,
    media_type: artifact.mediaType,
    bytes: artifact.bytes,
    sha256: artifact.sha256,
    created_at: iso(artifact.createdAt),
    links: { self, content: `${self}/content`, job: `/v1/jobs/${artifact.jobId}` },
  };
}
