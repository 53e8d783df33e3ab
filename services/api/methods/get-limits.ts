/** GET /v1/limits: how much of everything is accepted here. */
import Type from 'typebox';
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import type { Api } from '../http/typed-app.js';

const LimitsResource = Type.Object({
  object: Type.Literal('limits'),
  json_body_bytes: Type.Integer(),
  upload_bytes: Type.Integer({ description: 'Largest model or data set, unpacked.' }),
  archive_files: Type.Integer(),
  metadata_entries: Type.Integer(),
  metadata_value_characters: Type.Integer(),
  recipe_steps: Type.Integer(),
  requests_per_minute: Type.Integer({ description: 'Per key.' }),
  event_streams_per_key: Type.Integer(),
  prefer_wait_seconds: Type.Integer(),
  idempotency_key_hours: Type.Integer(),
});

export function getLimits(app: Api, { limits }: Pick<ApiDeps, 'limits'>): void {
  const schema = { tags: ['methods'], summary: 'Get the limits', response: { 200: LimitsResource, ...problemResponses } };
  app.get('/v1/limits', { config: { scope: 'any' }, schema }, () => ({
    object: 'limits' as const,
    json_body_bytes: limits.jsonBodyMaxBytes,
    upload_bytes: limits.uploadMaxBytes,
    archive_files: 256,
    metadata_entries: 16,
    metadata_value_characters: 512,
    recipe_steps: 32,
    requests_per_minute: limits.requestsPerMinute,
    event_streams_per_key: 10,
    prefer_wait_seconds: 60,
    idempotency_key_hours: 24,
  }));
}
