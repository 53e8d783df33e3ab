/** A local receiver of webhooks: answers 204 and hands over what it got. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { ReceivedWebhook } from './verify-webhook.js';

export interface WebhookListener {
  /** host:port, as LATHE_EGRESS_ALLOW wants it. */
  readonly address: string;
  readonly url: string;
  /** The first delivery, now or when it comes. */
  readonly received: Promise<ReceivedWebhook>;
  close(): void;
}

export async function listenForWebhook(): Promise<WebhookListener> {
  let deliver: (webhook: ReceivedWebhook) => void = () => undefined;
  const received = new Promise<ReceivedWebhook>((resolve) => {
    deliver = resolve;
  });
  const server = createServer((request, response) => {
    void buffer(request).then((body) => {
      response.writeHead(204).end();
      deliver({
        id: header(request, 'webhook-id'),
        timestamp: header(request, 'webhook-timestamp'),
        signature: header(request, 'webhook-signature'),
        body,
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { address, url: `http://${address}/`, received, close: () => void server.close() };
}

function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  return typeof value === 'string' ? value : '';
}
