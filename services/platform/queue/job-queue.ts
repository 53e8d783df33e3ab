/** The queue ports. A message is a wake-up that may come twice or be lost: the Postgres row it names is the truth. */
import type { QueueName, QueuePayload } from '#contracts';

export interface EnqueueOptions {
  /** While a message with this id waits or runs, another one is dropped. No colon. */
  readonly id: string;
  /** 0 (default) is the lowest, greater comes first. */
  readonly priority?: number;
  readonly delayMs?: number;
}

export interface JobQueue {
  /** Throws AppError queue_unavailable within a few seconds when the backend does not answer; TypeError for a payload that breaks the catalogue. */
  enqueue<Name extends QueueName>(name: Name, payload: QueuePayload<Name>, options: EnqueueOptions): Promise<void>;
  /** Resolves when the backend answers. Throws AppError queue_unavailable. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface Delivery<Name extends QueueName> {
  readonly id: string;
  readonly payload: QueuePayload<Name>;
  /** 1 for the first time; grows when an earlier handler threw or its process died. */
  readonly attempt: number;
}

/** When it throws, the message comes again until the attempts of the catalogue are used up. */
export type JobHandler<Name extends QueueName> = (delivery: Delivery<Name>) => Promise<void>;
export type JobHandlers = { readonly [Name in QueueName]?: JobHandler<Name> };

export interface ConsumerOptions {
  readonly queues: readonly QueueName[];
  readonly handlers: JobHandlers;
  /** Messages handled at the same time, per queue. */
  readonly concurrency: number;
  /** Errors of the connection and of handlers; never fatal. */
  readonly onError: (error: Error) => void;
}

export interface JobConsumer {
  /** Throws TypeError when a queue has no handler. Resolves when messages can arrive. */
  start(options: ConsumerOptions): Promise<void>;
  /** Takes no new message and waits for the running handlers. */
  close(): Promise<void>;
}
