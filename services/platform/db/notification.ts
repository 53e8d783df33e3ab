/** LISTEN and NOTIFY: wake-ups that arrive when the writing transaction commits. Whoever listens also polls; a lost one costs time only. */
import pg from 'pg';
import type { Db } from './database.js';

export const notificationChannels = {
  /** Payload: the queue that has a new outbox row. */
  outbox: 'lathe_outbox',
  /** Payload: the job that has a new event. */
  jobEvent: 'lathe_job_event',
  /** Payload: the job that shall stop. */
  jobCancel: 'lathe_job_cancel',
} as const;
export type NotificationChannel = keyof typeof notificationChannels;

/** Sent at commit of `tx`, never when it rolls back. Equal notifications of one transaction arrive once. */
export async function notify(tx: Db, channel: NotificationChannel, payload: string): Promise<void> {
  await tx.$executeRaw`SELECT pg_notify(${notificationChannels[channel]}, ${payload})`;
}

export interface NotificationListener {
  close(): Promise<void>;
}

export interface ListenOptions {
  /** A direct connection: PgBouncer in transaction mode does not carry LISTEN. */
  readonly url: string;
  readonly channels: readonly NotificationChannel[];
  onNotification(channel: NotificationChannel, payload: string): void;
  /** After each (re)connection: what was sent meanwhile is lost, so the caller looks for itself. */
  onConnect?(): void;
  /** Wait before connecting again, in milliseconds. */
  readonly reconnectMs?: number;
}

/** Holds one connection of its own and replaces it when it breaks. Resolves once the first try to connect has ended. */
export async function listen(options: ListenOptions): Promise<NotificationListener> {
  const byName = new Map(options.channels.map((channel) => [notificationChannels[channel] as string, channel]));
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const reconnect = () => {
    if (!closed && timer === undefined) timer = setTimeout(connect, options.reconnectMs ?? 1_000);
  };
  const drop = (broken: pg.Client) => {
    if (client !== broken) return;
    client = undefined;
    broken.end().catch(() => undefined);
    reconnect();
  };
  async function connect(): Promise<void> {
    timer = undefined;
    const next = new pg.Client({ connectionString: options.url, connectionTimeoutMillis: 5_000, keepAlive: true });
    client = next;
    next.on('error', () => drop(next));
    next.on('end', () => drop(next));
    next.on('notification', ({ channel, payload }) => {
      const name = byName.get(channel);
      if (name !== undefined) options.onNotification(name, payload ?? '');
    });
    try {
      await next.connect();
      for (const name of byName.keys()) await next.query(`LISTEN ${name}`);
      if (!closed) options.onConnect?.();
    } catch {
      drop(next);
    }
  }

  await connect();
  return {
    close: async () => {
      closed = true;
      clearTimeout(timer);
      const last = client;
      client = undefined;
      await last?.end().catch(() => undefined);
    },
  };
}
