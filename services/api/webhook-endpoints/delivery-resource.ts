/** One webhook delivery and its attempts as clients see them. */
import Type, { type Static } from 'typebox';
import type { AttemptRecord, DeliveryRecord } from '../deps.js';
import { iso, isoOrNull, nullable, Timestamp } from '../http/resource-schemas.js';

export const DeliveryResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('webhook_delivery'),
  event_id: Type.String({ description: 'The webhook-id header of every attempt.' }),
  event_type: Type.String(),
  endpoint_id: nullable(Type.String({ description: "Null for a job's own webhook_url." })),
  url: Type.String(),
  state: Type.Enum(['pending', 'succeeded', 'failed']),
  attempts: Type.Integer(),
  next_attempt_at: nullable(Timestamp),
  replay_of: nullable(Type.String()),
  created_at: Timestamp,
  finished_at: nullable(Timestamp),
});

export const DeliveryWithAttempts = Type.Object({
  ...DeliveryResource.properties,
  attempt_list: Type.Array(
    Type.Object({
      number: Type.Integer(),
      started_at: Timestamp,
      duration_ms: Type.Integer(),
      response_status: nullable(Type.Integer()),
      response_body: nullable(Type.String({ description: 'The first 4 KiB.' })),
      error: nullable(Type.String({ description: 'Why no answer came: timeout, connect, tls, egress_refused, …' })),
    }),
  ),
});

export function toDeliveryResource(delivery: DeliveryRecord): Static<typeof DeliveryResource> {
  return {
    id: delivery.id,
    object: 'webhook_delivery',
    event_id: delivery.eventId,
    event_type: delivery.eventType,
    endpoint_id: delivery.endpointId,
    url: delivery.url,
    state: delivery.state as 'pending' | 'succeeded' | 'failed',
    attempts: delivery.attempts,
    next_attempt_at: isoOrNull(delivery.nextAttemptAt),
    replay_of: delivery.replayOf,
    created_at: iso(delivery.createdAt),
    finished_at: isoOrNull(delivery.finishedAt),
  };
}

export function toDeliveryWithAttempts(delivery: DeliveryRecord, attempts: readonly AttemptRecord[]): Static<typeof DeliveryWithAttempts> {
  const list = attempts.map((attempt) => ({
    number: attempt.number,
    started_at: iso(attempt.startedAt),
    duration_ms: attempt.durationMs,
    response_status: attempt.responseStatus,
    response_body: attempt.responseBody,
    error: attempt.error,
  }));
  return { ...toDeliveryResource(delivery), attempt_list: list };
}
