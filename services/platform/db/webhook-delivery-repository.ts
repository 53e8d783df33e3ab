/** The sender's side of a delivery: claim it for one attempt, write down how that went, decide nothing. */
import { newId, type WebhookEventType } from '#contracts';
import type { Database, Db } from './database.js';
import type { WebhookDelivery } from './generated/client.js';
import { appendOutbox, webhookAttemptEntry } from './outbox.js';
import type { EndpointSecret } from './webhook-endpoint-repository.js';
import { recordWebhookEvent } from './webhook-event-repository.js';

export interface DeliveryKey {
  readonly tenantId: string;
  readonly deliveryId: string;
}

/** Everything one attempt needs. */
export interface ClaimedDelivery extends DeliveryKey {
  /** Of this attempt, from 1. */
  readonly number: number;
  readonly url: string;
  readonly format: 'standard' | 'cloudevents';
  /** Signing secrets that are valid now, newest first. */
  readonly secrets: readonly string[];
  readonly endpoint: { readonly id: string; readonly failures: number; readonly failingSince: Date | null } | null;
  readonly event: {
    readonly id: string;
    readonly type: WebhookEventType;
    readonly jobId: string | null;
    readonly data: Readonly<Record<string, unknown>>;
    readonly createdAt: Date;
  };
}

export interface AttemptRecordInput {
  readonly startedAt: Date;
  readonly durationMs: number;
  readonly responseStatus: number | null;
  readonly responseBody: string | null;
  readonly error: string | null;
}

/** What follows from an attempt: done, again later, or never again. */
export type DeliveryDecision = { readonly kind: 'succeeded' } | { readonly kind: 'retry'; readonly at: Date } | { readonly kind: 'failed' };

export interface AttemptOutcome {
  readonly attempt: AttemptRecordInput;
  readonly decision: DeliveryDecision;
  /** Set to switch the endpoint off, with the reason its owner reads. */
  readonly disableEndpoint: string | null;
}

export interface ClaimDeliveryOptions {
  /** The attempt belongs to this process for so long. */
  readonly leaseMs: number;
  /** Attempts to one address at the same time. */
  readonly perUrlMax: number;
  /** An address that failed this many times in a row gets one attempt at a time. */
  readonly failingThreshold: number;
  /** When the address is busy, the delivery is looked at again after this time. */
  readonly busyDelayMs: number;
}

export interface WebhookDeliveryRepository {
  /** Null when there is nothing to do now: not pending, not due, being tried, its address busy, or its endpoint gone. */
  claim(key: DeliveryKey, options: ClaimDeliveryOptions): Promise<ClaimedDelivery | null>;
  /** False when another process took this attempt over meanwhile; then nothing is written. */
  recordAttempt(claimed: ClaimedDelivery, outcome: AttemptOutcome): Promise<boolean>;
}

export function webhookDeliveryRepository(database: Database): WebhookDeliveryRepository {
  return {
    claim: (key, options) => database.transaction((tx) => claimDelivery(tx, key, options)),
    recordAttempt: (claimed, outcome) => database.transaction((tx) => recordAttempt(tx, claimed, outcome)),
  };
}

async function claimDelivery(tx: Db, key: DeliveryKey, options: ClaimDeliveryOptions): Promise<ClaimedDelivery | null> {
  const delivery = await lockDueDelivery(tx, key);
  if (delivery === null) return null;
  const endpoint =
    delivery.endpointId === null
      ? null
      : await tx.webhookEndpoint.findFirst({ where: { id: delivery.endpointId, tenantId: key.tenantId } });
  if (delivery.endpointId !== null && (endpoint === null || !endpoint.enabled || endpoint.deletedAt !== null)) {
    await tx.webhookDelivery.update({ where: { id: delivery.id }, data: { state: 'failed', finishedAt: new Date(), nextAttemptAt: null } });
    return null;
  }
  const max = (endpoint?.failures ?? 0) >= options.failingThreshold ? 1 : options.perUrlMax;
  if ((await countRunning(tx, delivery.url)) >= max) {
    await postpone(tx, delivery, options.busyDelayMs);
    return null;
  }
  await tx.$executeRaw`
    UPDATE webhook_delivery SET lease_until = now() + ${options.leaseMs} * interval '1 millisecond' WHERE id = ${delivery.id}`;
  const event = await tx.webhookEvent.findUniqueOrThrow({ where: { id: delivery.eventId } });
  return {
    ...key,
    number: delivery.attempts + 1,
    url: delivery.url,
    format: endpoint?.format === 'cloudevents' ? 'cloudevents' : 'standard',
    secrets:
      endpoint === null ? [await tenantSecret(tx, key.tenantId)] : validSecrets(endpoint.secrets as unknown as readonly EndpointSecret[]),
    endpoint,
    event: {
      id: event.id,
      type: event.type as WebhookEventType,
      jobId: event.jobId,
      data: event.data as Readonly<Record<string, unknown>>,
      createdAt: event.createdAt,
    },
  };
}

async function lockDueDelivery(tx: Db, { tenantId, deliveryId }: DeliveryKey): Promise<WebhookDelivery | null> {
  const [due] = await tx.$queryRaw<{ id: string }[]>`
    SELECT id FROM webhook_delivery WHERE id = ${deliveryId} AND tenant_id = ${tenantId} AND state = 'pending'
      AND next_attempt_at <= now() + interval '5 milliseconds' AND (lease_until IS NULL OR lease_until < now()) FOR UPDATE`;
  return due === undefined ? null : tx.webhookDelivery.findUniqueOrThrow({ where: { id: due.id } });
}

/** The lock lasts until the transaction ends, so that two claims for one address count one after the other. */
async function countRunning(tx: Db, url: string): Promise<number> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtextextended(${`webhook:${url}`}, 0))`;
  const [row] = await tx.$queryRaw<{ running: number }[]>`
    SELECT count(*)::int AS running FROM webhook_delivery WHERE state = 'pending' AND url = ${url} AND lease_until > now()`;
  return row?.running ?? 0;
}

async function postpone(tx: Db, delivery: WebhookDelivery, delayMs: number): Promise<void> {
  const at = new Date(Date.now() + delayMs);
  await tx.webhookDelivery.update({ where: { id: delivery.id }, data: { nextAttemptAt: at } });
  const { tenantId, id, attempts } = delivery;
  await appendOutbox(tx, webhookAttemptEntry({ tenantId, id, attempt: attempts + 1, availableAt: at }));
}

async function tenantSecret(tx: Db, tenantId: string): Promise<string> {
  const { webhookSecret } = await tx.tenant.findUniqueOrThrow({ where: { id: tenantId } });
  return webhookSecret;
}

function validSecrets(secrets: readonly EndpointSecret[]): string[] {
  const now = Date.now();
  return secrets.filter(({ expires_at }) => expires_at === null || Date.parse(expires_at) > now).map(({ secret }) => secret);
}

async function recordAttempt(tx: Db, claimed: ClaimedDelivery, { attempt, decision, disableEndpoint }: AttemptOutcome): Promise<boolean> {
  const { tenantId, deliveryId: id, number } = claimed;
  const ended = decision.kind !== 'retry';
  const { count } = await tx.webhookDelivery.updateMany({
    where: { id, tenantId, state: 'pending', attempts: number - 1 },
    data: {
      attempts: number,
      leaseUntil: null,
      nextAttemptAt: ended ? null : decision.at,
      ...(ended ? { state: decision.kind, finishedAt: new Date() } : {}),
    },
  });
  if (count === 0) return false;
  await tx.webhookAttempt.create({ data: { id: newId('attempt'), tenantId, deliveryId: id, number, ...attempt } });
  if (decision.kind === 'retry')
    await appendOutbox(tx, webhookAttemptEntry({ tenantId, id, attempt: number + 1, availableAt: decision.at }));
  if (claimed.endpoint !== null) await updateEndpoint(tx, claimed, { succeeded: decision.kind === 'succeeded', disable: disableEndpoint });
  return true;
}

async function updateEndpoint(
  tx: Db,
  { tenantId, endpoint, url }: ClaimedDelivery,
  { succeeded, disable }: { succeeded: boolean; disable: string | null },
): Promise<void> {
  const id = endpoint?.id ?? '';
  if (succeeded) {
    await tx.webhookEndpoint.updateMany({ where: { id, tenantId, failures: { gt: 0 } }, data: { failures: 0, failingSince: null } });
    return;
  }
  await tx.$executeRaw`
    UPDATE webhook_endpoint SET failures = failures + 1, failing_since = COALESCE(failing_since, now()) WHERE id = ${id} AND tenant_id = ${tenantId}`;
  if (disable === null) return;
  const { count } = await tx.webhookEndpoint.updateMany({
    where: { id, tenantId, enabled: true },
    data: { enabled: false, disabledReason: disable, version: { increment: 1 } },
  });
  if (count === 0) return;
  const data = { endpoint_id: id, url, reason: disable };
  await recordWebhookEvent(tx, { tenantId, type: 'webhook_endpoint.disabled', data, exceptEndpointId: id });
}
