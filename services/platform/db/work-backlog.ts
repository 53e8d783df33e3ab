/** How much work waits, across tenants, from the rows: what the queue metrics show. */
import type { QueueName } from '#contracts';
import type { Database } from './database.js';

export interface QueueBacklog {
  readonly queue: QueueName;
  /** Rows by state; states that end a job or a delivery are left out. */
  readonly rows: Readonly<Record<string, number>>;
  /** Of what could run now; 0 when nothing waits. */
  readonly oldestAgeSeconds: number;
}

export interface WorkBacklog {
  readonly queues: readonly QueueBacklog[];
  /** Age of the oldest due message that is not in the queue yet; 0 when there is none. */
  readonly outboxLagSeconds: number;
}

interface BacklogRow {
  readonly queue: QueueName;
  readonly state: string;
  readonly rows: number;
  readonly age: number | null;
}

export async function readWorkBacklog({ db }: Pick<Database, 'db'>): Promise<WorkBacklog> {
  const rows = await db.$queryRaw<BacklogRow[]>`
    SELECT 'compression.run' AS queue, state, count(*)::int AS rows,
      EXTRACT(EPOCH FROM now() - min(queued_at) FILTER (WHERE state = 'queued'))::float8 AS age
    FROM job WHERE state IN ('queued', 'running', 'canceling') GROUP BY state
    UNION ALL
    SELECT 'webhook.attempt', state, count(*)::int,
      EXTRACT(EPOCH FROM now() - min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()))::float8
    FROM webhook_delivery WHERE state = 'pending' GROUP BY state`;
  const [outbox] = await db.$queryRaw<{ lag: number | null }[]>`
    SELECT EXTRACT(EPOCH FROM now() - min(available_at))::float8 AS lag FROM outbox WHERE available_at <= now()`;
  const none = { 'compression.run': { queued: 0, running: 0, canceling: 0 }, 'webhook.attempt': { pending: 0 } };
  const queues = Object.entries(none).map(([name, states]) => {
    const own = rows.filter(({ queue }) => queue === name);
    return {
      queue: name as QueueName,
      rows: { ...states, ...Object.fromEntries(own.map(({ state, rows: count }) => [state, count])) },
      oldestAgeSeconds: Math.max(0, ...own.map(({ age }) => age ?? 0)),
    };
  });
  return { queues, outboxLagSeconds: Math.max(0, outbox?.lag ?? 0) };
}
