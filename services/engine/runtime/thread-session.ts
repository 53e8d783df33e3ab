/**
 * A session on a thread of its own: its runs go on beside those of other sessions. The Node binding runs those of one thread one after the
 * other, as a run holds the thread that asks for it (onnxruntime-node 1.30).
 */
import type { Worker } from 'node:worker_threads';
import { type InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { startThread } from '#platform/programs';
import { EngineError } from '../engine-errors.js';
import type { Tensor } from '../ir/index.js';
import { loadFailure, runFailure } from './ort-failures.js';
import { fromOrtTensor, toOrtTensor } from './ort-tensors.js';
import { memoryOf, type PassedTensor, type ThreadAnswer, type ThreadRequest } from './thread-messages.js';

/** The thread holds tensors, which are not in this memory, and little else. */
const resourceLimits = { maxYoungGenerationSizeMb: 2 };

export class SessionThread {
  /** Those who wait for an answer, in the order of their requests. */
  private readonly waiting: { resolve(answer: ThreadAnswer): void; reject(error: Error): void }[] = [];
  private readonly ended: Promise<void>;
  private failure: Error | undefined;

  private constructor(private readonly worker: Worker) {
    worker.on('message', (answer: ThreadAnswer) => this.waiting.shift()?.resolve(answer));
    this.ended = new Promise((resolve) => {
      const end = (error: Error): void => {
        this.failure ??= error;
        for (const each of this.waiting.splice(0)) each.reject(error);
        resolve();
      };
      worker.on('error', end);
      worker.on('exit', () => end(new EngineError('runtime_failed', 'The thread of a session ended before it answered.')));
    });
  }

  /** Throws what opening the model in this thread would throw. */
  static async open(path: string, options: InferenceSession.SessionOptions): Promise<SessionThread> {
    const thread = new SessionThread(startThread('engine/runtime/session-thread', { workerData: { path, options }, resourceLimits }));
    const answer = await thread.next();
    if (answer.kind === 'done') return thread;
    await thread.ended;
    throw loadFailure(answer.message, path);
  }

  /** `feeds` are copied. */
  async run(feeds: ReadonlyMap<string, Tensor>, fetches: readonly string[]): Promise<Map<string, Tensor>> {
    const passed = Object.fromEntries([...feeds].map(([name, tensor]) => [name, copied(tensor)]));
    const answer = await this.ask({ kind: 'run', feeds: passed, fetches }, memoryOf(passed));
    if (answer.kind === 'failed') throw runFailure(answer.message);
    return new Map(
      Object.entries(answer.results).map(([name, { type, data, dims }]) => [name, fromOrtTensor(new OrtTensor(type, data, dims))]),
    );
  }

  /** Resolves when the thread is gone: one that is ended from outside while it runs would take the process with it. */
  async close(): Promise<void> {
    if (!this.failure) await this.ask({ kind: 'close' });
    await this.ended;
  }

  private ask(request: ThreadRequest, memory: readonly ArrayBuffer[] = []): Promise<ThreadAnswer> {
    if (!this.failure) this.worker.postMessage(request, memory);
    return this.next();
  }

  private next(): Promise<ThreadAnswer> {
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

function copied(tensor: Tensor): PassedTensor {
  const { type, dims, data } = toOrtTensor(tensor);
  return { type, dims, data: data.slice() };
}
