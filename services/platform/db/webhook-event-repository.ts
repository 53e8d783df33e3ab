/** Webhook events and their fan-out: one delivery per subscriber, written in the transaction of the fact itself. */
import { AppError, newId, type WebhookEventType } from '#contracts';
import type { Db } from './database.js';
import type { Prisma, WebhookDelivery } from './generated/client.js';
import { appendOutbox, webhookAttemptEntry } from './outbox.js';

export interface WebhookEventInput {
  readonly tenantId: string;
  readonly type: WebhookEventType;
  readonly jobId?: string;
  /** The `data` member of the body. */
  readonly data: Readonly<Record<string, unknown>>;
  /** The job's own receiver: gets the event that ends the job, signed with the tenant's secret. */
  readonly jobWebhookUrl?: string | null;
  /** Not delivered to this endpoint, e.g. because the event says that it was disabled. */
  readonly exceptEndpointId?: string;
}

const endsJob: ReadonlySet<WebhookEventType> = new Set(['job.succeeded', 'job.failed', 'job.canceled', 'job.expired']);

/** Returns the id of the event, which every delivery carries as `webhook-id`. */
export async function recordWebhookEvent(tx: Db, event: WebhookEventInput): Promise<string> {
  const endpoints = await tx.webhookEndpoint.findMany({
    where: {
      tenantId: event.tenantId,
      enabled: true,
      deletedAt: null,
      events: { hasSome: [event.type, '*'] },
      ...(event.exceptEndpointId === undefined ? {} : { id: { not: event.exceptEndpointId } }),
    },
    select: { id: true, url: true },
    orderBy: { id: 'asc' },
  });
  const receivers: Receiver[] = endpoints.map(({ id, url }) => ({ endpointId: id, url }));
  if (event.jobWebhookUrl != null && endsJob.has(event.type)) receivers.push({ endpointId: null, url: event.jobWebhookUrl });
  return createEvent(tx, event, receivers);
}

/** Sends `ping` to one endpoint, whatever it subscribed to. Returns the delivery. */
export async function recordPing(tx: Db, { tenantId, endpointId }: { tenantId: string; endpointId: string }): Promise<WebhookDelivery> {
  const endpoint = await tx.webhookEndpoint.findFirst({ where: { tenantId, id: endpointId, deletedAt: null } });
  if (endpoint === null) throw new AppError('not_found', `No webhook endpoint has id ${endpointId}.`);
  const eventId = await createEvent(tx, { tenantId, type: 'ping', data: { endpoint_id: endpointId } }, []);
  return createDelivery(tx, { tenantId, eventId, endpointId, url: endpoint.url });
}

/** Delivers the event of an earlier delivery again, to where its endpoint is now, as a new delivery of its own. */
export async function replayDelivery(tx: Db, { tenantId, deliveryId }: { tenantId: string; deliveryId: string }): Promise<WebhookDelivery> {
  const earlier = await tx.webhookDelivery.findFirst({ where: { tenantId, id: deliveryId } });
  if (earlier === null) throw new AppError('not_found', `No delivery has id ${deliveryId}.`);
  const { eventId, endpointId } = earlier;
  if (endpointId === null) return createDelivery(tx, { tenantId, eventId, endpointId, url: earlier.url, replayOf: deliveryId });
  const endpoint = await tx.webhookEndpoint.findFirst({ where: { tenantId, id: endpointId, deletedAt: null } });
  if (endpoint === null) throw new AppError('gone', 'The endpoint of this delivery was deleted.');
  if (!endpoint.enabled) throw new AppError('conflict', 'The endpoint of this delivery is disabled; enable it first.');
  return createDelivery(tx, { tenantId, eventId, endpointId, url: endpoint.url, replayOf: deliveryId });
}

interface Receiver {
  readonly endpointId: string | null;
  readonly url: string;
}

async function createEvent(tx: Db, event: WebhookEventInput, receivers: readonly Receiver[]): Promise<string> {
  const id = newId('event');
  await tx.webhookEvent.create({
    data: { id, tenantId: event.tenantId, type: event.type, jobId: event.jobId ?? null, data: event.data as Prisma.InputJsonObject },
  });
  for (const receiver of receivers) await createDelivery(tx, { tenantId: event.tenantId, eventId: id, ...receiver });
  return id;
}

async function createDelivery(
  tx: Db,
  delivery: Receiver & { tenantId: string; eventId: string; replayOf?: string },
): Promise<WebhookDelivery> {
  const row = await tx.webhookDelivery.create({
    data: { id: newId('delivery'), ...delivery, state: 'pending', nextAttemptAt: new Date() },
  });
  await appendOutbox(tx, webhookAttemptEntry({ tenantId: row.tenantId, id: row.id, attempt: 1 }));
  return row;
}
