/** A local webhook receiver: records what comes and answers as the path was told to. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';

export interface ReceivedRequest {
  readonly path: string;
  readonly headers: Record<string, string>;
  /** Exactly the bytes that came. */
  readonly body: string;
  readonly receivedAt: number;
}

export type Answer = (response: ServerResponse, request: ReceivedRequest) => void;

export class RecordingReceiver {
  private readonly received: ReceivedRequest[] = [];
  private readonly answers = new Map<string, Answer>();
  /** Requests being answered now, and the most there ever were, by path. */
  readonly busy = new Map<string, { now: number; max: number }>();

  private constructor(private readonly server: Server) {}

  static async start(): Promise<RecordingReceiver> {
    const server = createServer((request, response) => void receiver.handle(request, response));
    const receiver = new RecordingReceiver(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** 204 for paths that were told nothing. */
  answer(path: string, answer: Answer): void {
    this.answers.set(path, answer);
  }

  requests(path: string): ReceivedRequest[] {
    return this.received.filter((request) => request.path === path);
  }

  /** The body, verified by the independent implementation; throws when the signature does not fit. */
  verify(request: ReceivedRequest | undefined, secret: string): unknown {
    if (request === undefined) throw new Error('Nothing was received');
    return new Webhook(secret).verify(request.body, request.headers);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const path = incoming.url ?? '';
    const headers = Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
    const request = { path, headers, body: Buffer.concat(chunks).toString('utf8'), receivedAt: performance.now() };
    this.received.push(request);
    const busy = this.busy.get(path) ?? { now: 0, max: 0 };
    this.busy.set(path, busy);
    busy.now += 1;
    busy.max = Math.max(busy.max, busy.now);
    response.on('close', () => {
      busy.now -= 1;
    });
    const answer = this.answers.get(path);
    if (answer === undefined) response.writeHead(204).end();
    else answer(response, request);
  }
}
