/** The webhook endpoint as clients see it; its secret is shown when it is made and never again. */
import { randomBytes } from 'node:crypto';
import Type, { type Static } from 'typebox';
import { AppError, webhookEventTypes } from '#contracts';
import type { ApiDeps, EndpointRecord } from '../deps.js';
import { iso, nullable, Timestamp } from '../http/resource-schemas.js';

export const EndpointResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('webhook_endpoint'),
  url: Type.String(),
  events: Type.Array(Type.String()),
  format: Type.Enum(['standard', 'cloudevents']),
  description: Type.String(),
  enabled: Type.Boolean(),
  disabled_reason: nullable(Type.String()),
  secret_hint: Type.String({ description: 'The last four characters of the current secret.' }),
  failing_since: nullable(Timestamp),
  created_at: Timestamp,
});

export const EndpointWithSecret = Type.Object({
  ...EndpointResource.properties,
  secret: Type.String({ description: 'whsec_…, for Standard Webhooks libraries. Shown only now.' }),
});

const fields = {
  url: Type.String({ minLength: 1, maxLength: 2048, description: 'https; private addresses only where the operator allows them.' }),
  events: Type.Array(Type.Enum([...webhookEventTypes, '*']), { minItems: 1, maxItems: 32, uniqueItems: true }),
  format: Type.Enum(['standard', 'cloudevents']),
  description: Type.String({ maxLength: 512 }),
  enabled: Type.Boolean(),
};

export const EndpointRequest = Type.Object(
  {
    url: fields.url,
    events: Type.Optional(fields.events),
    format: Type.Optional(fields.format),
    description: Type.Optional(fields.description),
    enabled: Type.Optional(fields.enabled),
  },
  { additionalProperties: false },
);

export const EndpointChange = Type.Partial(Type.Object(fields), { additionalProperties: false, minProperties: 1 });

/** 32 random bytes in the form of Standard Webhooks. */
export const newWebhookSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;

export function toEndpointResource(endpoint: EndpointRecord): Static<typeof EndpointResource> {
  return {
    id: endpoint.id,
    object: 'webhook_endpoint',
    url: endpoint.url,
    events: [...endpoint.events],
    format: endpoint.format === 'cloudevents' ? 'cloudevents' : 'standard',
    description: endpoint.description,
    enabled: endpoint.enabled,
    disabled_reason: endpoint.disabledReason,
    secret_hint: endpoint.secrets[0]?.secret.slice(-4) ?? '',
    failing_since: endpoint.failingSince === null ? null : iso(endpoint.failingSince),
    created_at: iso(endpoint.createdAt),
  };
}

export type EndpointDeps = Pick<ApiDeps, 'webhookEndpoints' | 'cursors' | 'checkWebhookUrl'>;

/** @throws AppError(not_found) */
export function found<Row>(row: Row | null, id: string): Row {
  if (row === null) throw new AppError('not_found', `No webhook endpoint has id ${id}.`);
  return row;
}
