/** Composition root of the webhooks process: the one place where its adapters are constructed. */
import type { ConfigWithDatabase } from '#platform/config';
import { listen, openDatabase, webhookDeliveryRepository } from '#platform/db';
import { createEgressAllowList, createGuardedDispatcher, parseEgressUrl } from '#platform/egress';
import { Readiness } from '#platform/lifecycle';
import { createRegistry, createWebhookMetrics, type Registry } from '#platform/observability';
import { startOutboxRelay } from '#platform/outbox';
import { createJobConsumer, createJobQueue } from '#platform/queue';
import { type AttemptDeliveryDeps, attemptDelivery } from './attempt-delivery.js';
import { createHttpSender } from './http-sender.js';

/** What the process says to the log. */
export interface WebhooksLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface WebhookSenderOptions {
  readonly log: WebhooksLog;
  readonly registry?: Registry;
  readonly readiness?: Readiness;
}

export interface WebhookSender {
  /** Makes no new attempt and waits for those under way. */
  close(): Promise<void>;
}

const connectTimeoutMs = 5_000;
/** On top of the time of an attempt, before another process may take it over. */
const leaseReserveMs = 15_000;
const perUrlMax = 2;
const failingThreshold = 5;
const busyDelayMs = 250;

/** Starts everything; resolves when deliveries can arrive. */
export async function startWebhookSender(config: ConfigWithDatabase, options: WebhookSenderOptions): Promise<WebhookSender> {
  const { log, registry = createRegistry('webhooks'), readiness = new Readiness() } = options;
  const { webhooks } = config;
  const onError = (error: unknown) => log.warn({ err: error }, 'webhooks trouble');
  const database = openDatabase({ url: config.databaseUrl, poolSize: Math.min(10, webhooks.concurrency + 3) });
  const queue = createJobQueue(config, onError);
  const consumer = createJobConsumer(config);
  const allow = createEgressAllowList(config.egressAllow);
  const dispatcher = createGuardedDispatcher({
    allow,
    connectTimeoutMs: Math.min(connectTimeoutMs, webhooks.timeoutMs),
    responseTimeoutMs: webhooks.timeoutMs,
  });
  const attempts: AttemptDeliveryDeps = {
    deliveries: webhookDeliveryRepository(database),
    sender: createHttpSender({ dispatcher, timeoutMs: webhooks.timeoutMs }),
    parseUrl: (text) => parseEgressUrl(text, allow),
    publicUrl: config.publicUrl ?? localUrl(config.http),
    retryDelaysMs: webhooks.retryDelaysMs,
    disableAfterMs: webhooks.disableAfterMs,
    claim: { leaseMs: webhooks.timeoutMs + leaseReserveMs, perUrlMax, failingThreshold, busyDelayMs },
    random: Math.random,
    log: (fields) => log.info(fields, 'webhook attempt'),
    metrics: createWebhookMetrics(registry),
  };
  const relay = startOutboxRelay({ database, queue, name: 'webhook.attempt', pollMs: config.jobs.outboxPollMs, onError });
  const listener = await listen({
    url: config.databaseUrl,
    channels: ['outbox'],
    onNotification: (_channel, payload) => {
      if (payload === 'webhook.attempt') relay.wake();
    },
    onConnect: () => relay.wake(),
  });
  readiness.add('database', () => database.ping());
  readiness.add('queue', () => queue.ping());
  await consumer.start({
    queues: ['webhook.attempt'],
    handlers: {
      'webhook.attempt': async ({ payload }) => {
        await attemptDelivery(attempts, { tenantId: payload.tenant_id, deliveryId: payload.delivery_id });
      },
    },
    concurrency: webhooks.concurrency,
    onError,
  });
  return {
    close: async () => {
      await consumer.close();
      await listener.close();
      await relay.close();
      await queue.close();
      await dispatcher.close();
      await database.close();
    },
  };
}

/** Where the API listens, as far as this process can know; null when it took a free port. */
function localUrl({ host, port }: ConfigWithDatabase['http']): string | null {
  return port === 0 ? null : `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
