/** The API key as clients see it: never the key itself, but for the answer that makes it. */
import Type, { type Static } from 'typebox';
import { apiKeyScopes } from '#contracts';
import type { ApiKeyRecord } from '../deps.js';
import { iso, isoOrNull, nullable, Timestamp } from '../http/resource-schemas.js';

export const ApiKeyResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('api_key'),
  name: Type.String(),
  scopes: Type.Array(Type.Enum([...apiKeyScopes])),
  last_four: Type.String(),
  created_at: Timestamp,
  expires_at: nullable(Timestamp),
  revoked_at: nullable(Timestamp),
  last_used_at: nullable(Timestamp),
});

export function toApiKeyResource(key: ApiKeyRecord): Static<typeof ApiKeyResource> {
  return {
    id: key.id,
    object: 'api_key',
    name: key.name,
    scopes: key.scopes as (typeof apiKeyScopes)[number][],
    last_four: key.lastFour,
    created_at: iso(key.createdAt),
    expires_at: isoOrNull(key.expiresAt),
    revoked_at: isoOrNull(key.revokedAt),
    last_used_at: isoOrNull(key.lastUsedAt),
  };
}
