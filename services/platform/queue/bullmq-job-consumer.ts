/** Receives messages through BullMQ and hands them to the handlers of the process. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Job } from 'bullmq';
import type { QueueName } from '#contracts';
import type { ConsumerOptions, JobConsumer, JobHandler } from './job-queue.js';
import { checkPayload } from './payload-check.js';
import { openQueueConnection, type QueueConnection, type QueueLocation, type WorkerHandle } from './queue-backend.js';

const RETRY_MS = 1_000;

export interface ConsumerTiming {
  /** A message belongs to a consumer that has fallen silent for this long. */
  readonly lockMs: number;
  /** How often messages of silent consumers are looked for. */
  readonly stalledMs: number;
}

export class BullmqJobConsumer implements JobConsumer {
  private connection: QueueConnection | undefined;
  private workers: WorkerHandle[] = [];
  private readonly stopping = new AbortController();

  constructor(
    private readonly location: QueueLocation,
    private readonly timing: ConsumerTiming,
  ) {}

  async start(options: ConsumerOptions): Promise<void> {
    const served = options.queues.map((name) => {
      const handler = options.handlers[name] as JobHandler<QueueName> | undefined;
      if (!handler) throw new TypeError(`No handler for queue ${name}`);
      return { name, handler };
    });
    this.connection = openQueueConnection(this.location, { onError: options.onError });
    for (const { name, handler } of served) {
      const worker = await this.readyWorker(name, handler, options);
      if (!worker) return;
      this.workers.push(worker);
      worker.run().catch(options.onError);
    }
  }

  async close(): Promise<void> {
    this.stopping.abort();
    await Promise.all(this.workers.map((worker) => worker.close()));
    this.workers = [];
    await this.connection?.close();
    this.connection = undefined;
  }

  /** Tries until the backend is there; undefined when close() came first. */
  private async readyWorker(name: QueueName, handler: JobHandler<QueueName>, options: ConsumerOptions): Promise<WorkerHandle | undefined> {
    while (!this.stopping.signal.aborted && this.connection) {
      const worker = this.connection.worker(name, (job: Job) => deliver(name, handler, job), {
        autorun: false,
        concurrency: options.concurrency,
        lockDuration: this.timing.lockMs,
        stalledInterval: this.timing.stalledMs,
        // One deploy and one crash must not add up to a failure; five starts without an end must.
        maxStalledCount: 2,
        maxStartedAttempts: 5,
        runRetryDelay: RETRY_MS,
      });
      try {
        await worker.waitUntilReady();
        return worker;
      } catch (error) {
        options.onError(error instanceof Error ? error : new Error(String(error)));
        await worker.close(true).catch(options.onError);
        await delay(RETRY_MS, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      }
    }
    return undefined;
  }
}

async function deliver(name: QueueName, handler: JobHandler<QueueName>, job: Job): Promise<void> {
  await handler({ id: job.id ?? '', payload: checkPayload(name, job.data), attempt: job.attemptsStarted });
}
