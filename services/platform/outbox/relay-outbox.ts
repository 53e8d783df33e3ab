/** Moves due outbox rows of one queue into the queue: at least once, woken by notification, with a poll as the guarantee. */
import type { QueueName } from '#contracts';
import type { Database, DueOutboxRow } from '#platform/db';
import { deleteOutboxRows, lockDueOutboxRows, nextOutboxDueMs } from '#platform/db';
import type { JobQueue } from '#platform/queue';

export interface OutboxRelayOptions {
  readonly database: Database;
  readonly queue: Pick<JobQueue, 'enqueue'>;
  readonly name: QueueName;
  /** Longest time between two looks, in milliseconds. */
  readonly pollMs: number;
  readonly onError: (error: unknown) => void;
}

export interface OutboxRelay {
  /** There may be something: look now. */
  wake(): void;
  /** Ends after the batch at hand. */
  close(): Promise<void>;
}

const batchMax = 100;

/** Starts at once. Any number of relays may serve one queue: each row is locked by one of them and deleted once it was sent. */
export function startOutboxRelay(options: OutboxRelayOptions): OutboxRelay {
  let closed = false;
  let awake = true;
  let rest: (() => void) | undefined;

  const sleep = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      rest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  const loop = async () => {
    while (!closed) {
      awake = false;
      const waitMs = await drain(options).catch((error: unknown) => {
        options.onError(error);
        return options.pollMs;
      });
      if (!awake && !closed && waitMs > 0) await sleep(waitMs);
    }
  };
  const running = loop();
  const wake = () => {
    awake = true;
    rest?.();
  };
  return {
    wake,
    close: () => {
      closed = true;
      wake();
      return running;
    },
  };
}

/** Sends everything that is due; returns how long nothing will be, in milliseconds. */
async function drain(options: OutboxRelayOptions): Promise<number> {
  while ((await relayBatch(options)) === batchMax);
  const dueMs = await nextOutboxDueMs(options.database.db, options.name);
  // A millisecond more, so that the database's clock has passed the moment too. A row another relay holds counts as due now.
  return Math.min(options.pollMs, dueMs === null ? options.pollMs : Math.max(dueMs + 1, heldRowWaitMs));
}
const heldRowWaitMs = 20;

async function relayBatch({ database, queue, name, onError }: OutboxRelayOptions): Promise<number> {
  return database.transaction(async (tx) => {
    const rows = await lockDueOutboxRows(tx, name, batchMax);
    await Promise.all(rows.map((row) => send(queue, name, row, onError)));
    if (rows.length > 0) {
      await deleteOutboxRows(
        tx,
        rows.map(({ id }) => id),
      );
    }
    return rows.length;
  });
}

/** A payload that breaks the catalogue would stop the line for ever: it is reported and dropped. */
async function send(
  queue: OutboxRelayOptions['queue'],
  name: QueueName,
  row: DueOutboxRow,
  onError: (error: unknown) => void,
): Promise<void> {
  try {
    const payload = row.payload as Parameters<typeof queue.enqueue<typeof name>>[1];
    await queue.enqueue(name, payload, { id: row.messageId, priority: row.priority });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    onError(new TypeError(`Outbox row ${row.id} was dropped: ${error.message}`, { cause: error }));
  }
}
