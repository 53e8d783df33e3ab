/** Webhook endpoints and the record of what was sent to them, as their owners see them. */
import { newId, type WebhookEventType } from '#contracts';
import type { Database } from './database.js';
import type { WebhookAttempt, WebhookDelivery, WebhookEndpoint } from './generated/client.js';
import { afterPosition, newestFirst, type Page, type PageRequest, toPage } from './page.js';
import { recordPing, replayDelivery } from './webhook-event-repository.js';

export interface EndpointSecret {
  /** "whsec_…" */
  readonly secret: string;
  /** RFC 3339; null for the current one. */
  readonly expires_at: string | null;
}

export type EndpointRecord = Omit<WebhookEndpoint, 'secrets'> & { readonly secrets: readonly EndpointSecret[] };
export type DeliveryRecord = WebhookDelivery & { readonly eventType: string };
export type AttemptRecord = WebhookAttempt;

export interface EndpointFields {
  readonly url: string;
  readonly events: readonly (WebhookEventType | '*')[];
  readonly format: 'standard' | 'cloudevents';
  readonly description: string;
  readonly enabled: boolean;
}

export interface DeliveryFilter {
  readonly endpointId?: string;
  readonly state?: 'pending' | 'succeeded' | 'failed';
}

export interface WebhookEndpointRepository {
  create(tenantId: string, endpoint: EndpointFields & { readonly secret: string }): Promise<EndpointRecord>;
  find(tenantId: string, id: string): Promise<EndpointRecord | null>;
  list(tenantId: string, page: PageRequest): Promise<Page<EndpointRecord>>;
  /** Enabling again clears the record of failures. Null when there is no such endpoint. */
  update(tenantId: string, id: string, change: Partial<EndpointFields>): Promise<EndpointRecord | null>;
  /** `secret` becomes the current one; the one before it signs too until `overlapUntil`. */
  rotateSecret(tenantId: string, id: string, rotation: { secret: string; overlapUntil: Date }): Promise<EndpointRecord | null>;
  remove(tenantId: string, id: string): Promise<boolean>;
  /** Throws not_found. */
  ping(tenantId: string, id: string): Promise<DeliveryRecord>;
  listDeliveries(tenantId: string, request: PageRequest & { readonly filter: DeliveryFilter }): Promise<Page<DeliveryRecord>>;
  findDelivery(tenantId: string, id: string): Promise<{ delivery: DeliveryRecord; attempts: readonly AttemptRecord[] } | null>;
  /** Throws not_found, gone or conflict. */
  replay(tenantId: string, deliveryId: string): Promise<DeliveryRecord>;
}

function toRecord(row: WebhookEndpoint): EndpointRecord {
  return { ...row, secrets: row.secrets as unknown as readonly EndpointSecret[] };
}

export function webhookEndpointRepository(database: Database): WebhookEndpointRepository {
  const { db } = database;

  async function withTypes(tenantId: string, rows: readonly WebhookDelivery[]): Promise<DeliveryRecord[]> {
    const events = await db.webhookEvent.findMany({
      where: { tenantId, id: { in: rows.map((row) => row.eventId) } },
      select: { id: true, type: true },
    });
    const types = new Map(events.map((event) => [event.id, event.type]));
    return rows.map((row) => ({ ...row, eventType: types.get(row.eventId) ?? '' }));
  }
  async function withType(tenantId: string, row: WebhookDelivery): Promise<DeliveryRecord> {
    const [delivery] = await withTypes(tenantId, [row]);
    return delivery ?? { ...row, eventType: '' };
  }
  async function find(tenantId: string, id: string): Promise<EndpointRecord | null> {
    const row = await db.webhookEndpoint.findFirst({ where: { tenantId, id, deletedAt: null } });
    return row === null ? null : toRecord(row);
  }

  return {
    ...endpointWrites(database, find),
    find,
    list: async (tenantId, { limit, after }) => {
      const where = { tenantId, deletedAt: null, ...afterPosition(after) };
      return toPage((await db.webhookEndpoint.findMany({ where, orderBy: newestFirst, take: limit + 1 })).map(toRecord), limit);
    },
    ping: async (tenantId, id) => withType(tenantId, await database.transaction((tx) => recordPing(tx, { tenantId, endpointId: id }))),
    listDeliveries: async (tenantId, { limit, after, filter }) => {
      const rows = await db.webhookDelivery.findMany({
        where: { tenantId, ...filter, ...afterPosition(after) },
        orderBy: newestFirst,
        take: limit + 1,
      });
      return toPage(await withTypes(tenantId, rows), limit);
    },
    findDelivery: async (tenantId, id) => {
      const row = await db.webhookDelivery.findFirst({ where: { tenantId, id } });
      if (row === null) return null;
      const attempts = await db.webhookAttempt.findMany({ where: { tenantId, deliveryId: id }, orderBy: { number: 'asc' } });
      return { delivery: await withType(tenantId, row), attempts };
    },
    replay: async (tenantId, deliveryId) =>
      withType(tenantId, await database.transaction((tx) => replayDelivery(tx, { tenantId, deliveryId }))),
  };
}

type EndpointWrites = Pick<WebhookEndpointRepository, 'create' | 'update' | 'rotateSecret' | 'remove'>;

function endpointWrites({ db }: Database, find: WebhookEndpointRepository['find']): EndpointWrites {
  return {
    create: async (tenantId, { secret, events, ...rest }) => {
      const secrets = [{ secret, expires_at: null }];
      const data = { id: newId('webhookEndpoint'), tenantId, ...rest, events: [...events], secrets };
      return toRecord(await db.webhookEndpoint.create({ data }));
    },
    update: async (tenantId, id, { events, ...rest }) => {
      const reset = rest.enabled === true ? { disabledReason: null, failures: 0, failingSince: null } : {};
      const data = { ...rest, ...(events === undefined ? {} : { events: [...events] }), ...reset, version: { increment: 1 } };
      await db.webhookEndpoint.updateMany({ where: { tenantId, id, deletedAt: null }, data });
      return find(tenantId, id);
    },
    rotateSecret: async (tenantId, id, { secret, overlapUntil }) => {
      const endpoint = await find(tenantId, id);
      if (endpoint === null) return null;
      const [current] = endpoint.secrets;
      const earlier = current === undefined ? [] : [{ secret: current.secret, expires_at: overlapUntil.toISOString() }];
      const data = { secrets: [{ secret, expires_at: null }, ...earlier], version: { increment: 1 } };
      await db.webhookEndpoint.updateMany({ where: { tenantId, id, version: endpoint.version }, data });
      return find(tenantId, id);
    },
    remove: async (tenantId, id) => {
      const data = { deletedAt: new Date(), enabled: false };
      return (await db.webhookEndpoint.updateMany({ where: { tenantId, id, deletedAt: null }, data })).count > 0;
    },
  };
}
