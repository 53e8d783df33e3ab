/** A local webhook receiver that keeps what it gets, byte for byte. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { buffer } from 'node:stream/consumers';

export interface Delivery {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface WebhookReceiver {
  /** host:port for LATHE_EGRESS_ALLOW. */
  readonly address: string;
  readonly url: string;
  readonly deliveries: readonly Delivery[];
  close(): void;
}

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const deliveries: Delivery[] = [];
  const server = createServer((request, response) => {
    void buffer(request).then((body) => {
      deliveries.push({ headers: request.headers, body: body.toString() });
      response.writeHead(204).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no port');
  const address = `127.0.0.1:${bound.port}`;
  return { address, url: `http://${address}/hook`, deliveries, close: () => void server.close() };
}
