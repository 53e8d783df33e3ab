/** The thread of a session that has one of its own: opens the model it is told, and runs it when it is sent feeds. */
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { memoryOf, type ThreadAnswer, type ThreadRequest, type ThreadTask } from './thread-messages.js';

const none: ThreadAnswer = { kind: 'done', results: {} };

function send(answer: ThreadAnswer): void {
  parentPort?.postMessage(answer, answer.kind === 'done' ? memoryOf(answer.results) : []);
}

async function answerTo(session: InferenceSession, request: ThreadRequest): Promise<ThreadAnswer> {
  if (request.kind === 'close') {
    await session.release();
    return none;
  }
  const feeds = Object.entries(request.feeds).map(([name, { type, data, dims }]) => [name, new Tensor(type, data, dims)] as const);
  const results = await session.run(Object.fromEntries(feeds), request.fetches);
  const passed = Object.entries(results).map(([name, { type, dims, data }]) => [name, { type, dims, data }] as const);
  return { kind: 'done', results: Object.fromEntries(passed) };
}

async function attempt(action: () => Promise<ThreadAnswer>): Promise<void> {
  send(await action().catch((error: unknown): ThreadAnswer => ({ kind: 'failed', message: String(error) })));
}

async function serve({ path, options }: ThreadTask): Promise<void> {
  await attempt(async () => {
    const session = await InferenceSession.create(path, options);
    parentPort?.on('message', async (request: ThreadRequest) => {
      await attempt(() => answerTo(session, request));
      if (request.kind === 'close') parentPort?.close();
    });
    return none;
  });
}

await serve(workerData as ThreadTask);
