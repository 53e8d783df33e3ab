/** Sends messages through BullMQ; answers within seconds whatever the backend does. */
import { AppError, type QueueName, type QueuePayload, queueCatalog } from '#contracts';
import type { EnqueueOptions, JobQueue } from './job-queue.js';
import { checkPayload } from './payload-check.js';
import { openQueueConnection, type QueueConnection, type QueueHandle, type QueueLocation } from './queue-backend.js';

const DEADLINE_MS = 3_000;
/** In BullMQ 1 is served first and no priority before all; ours grows upwards from 0. */
const LOWEST_PRIORITY = 1_000_000;

export class BullmqJobQueue implements JobQueue {
  private connection: QueueConnection | undefined;
  private readonly queues = new Map<QueueName, QueueHandle>();
  private readonly opening = new Map<QueueName, Promise<QueueHandle>>();
  private closed = false;

  constructor(
    private readonly location: QueueLocation,
    private readonly onError: (error: Error) => void = () => undefined,
  ) {}

  async enqueue<Name extends QueueName>(name: Name, payload: QueuePayload<Name>, options: EnqueueOptions): Promise<void> {
    const checked = checkPayload(name, payload);
    await this.withinDeadline(async () => {
      const queue = await this.readyQueue(name);
      await queue.add(name, checked, {
        jobId: options.id,
        priority: Math.max(1, LOWEST_PRIORITY - (options.priority ?? 0)),
        delay: options.delayMs ?? 0,
        attempts: queueCatalog[name].attempts,
        backoff: { type: 'exponential', delay: 1_000, jitter: 0.5 },
        // Kept entries would swallow a later message with the same id.
        removeOnComplete: true,
        removeOnFail: true,
      });
    });
  }

  async ping(): Promise<void> {
    await this.withinDeadline(() => this.open().ping());
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.discard();
  }

  private open(): QueueConnection {
    if (this.closed) throw new AppError('queue_unavailable', 'The queue is shutting down.');
    this.connection ??= openQueueConnection(this.location, { failAfterMs: DEADLINE_MS, onError: this.onError });
    return this.connection;
  }

  /** One queue per name, however many messages are sent before it is ready. */
  private async readyQueue(name: QueueName): Promise<QueueHandle> {
    const known = this.queues.get(name) ?? this.opening.get(name);
    if (known) return known;
    const opening = this.openQueue(name).finally(() => this.opening.delete(name));
    this.opening.set(name, opening);
    return opening;
  }

  /** BullMQ remembers a failed first contact for ever, so a queue that did not become ready is thrown away. */
  private async openQueue(name: QueueName): Promise<QueueHandle> {
    const queue = this.open().queue(name);
    try {
      await queue.waitUntilReady();
    } catch (error) {
      await this.discard();
      throw error;
    }
    this.queues.set(name, queue);
    return queue;
  }

  private async discard(): Promise<void> {
    const { connection, queues } = this;
    const open = [...queues.values()];
    queues.clear();
    this.connection = undefined;
    await Promise.allSettled(open.map((queue) => queue.close()));
    await connection?.close().catch(this.onError);
  }

  private async withinDeadline(work: () => Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS);
    });
    try {
      await Promise.race([work(), deadline]);
    } catch (cause) {
      if (cause instanceof AppError) throw cause;
      throw new AppError('queue_unavailable', 'The queue cannot be reached; try again.', { cause, headers: { 'Retry-After': '2' } });
    } finally {
      clearTimeout(timer);
    }
  }
}
