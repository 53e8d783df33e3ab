/** Probes and metrics of a process that has no other HTTP: /livez, /readyz and /metrics on LATHE_METRICS_PORT. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger, Registry } from '../observability/index.js';
import type { Readiness } from './readiness.js';

export interface HealthServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly readiness: Readiness;
  readonly registry: Registry;
  readonly logger: Logger;
}

export interface HealthServer {
  readonly url: string;
  close(): Promise<void>;
}

/** The same paths and answers as those of the API. Rejects when the port is taken. */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const { host, port, logger } = options;
  const server = createServer((request, response) => {
    const pathname = (request.url ?? '/').replace(/\?.*/, '');
    const route = request.method === 'GET' || request.method === 'HEAD' ? routes[pathname] : undefined;
    if (route === undefined) {
      response.writeHead(404).end();
      return;
    }
    route(response, options).catch((err: unknown) => {
      logger.warn({ err, path: pathname }, 'probe failed');
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  server.listen(port, host);
  await once(server, 'listening');
  server.on('error', (err) => logger.warn({ err }, 'health server'));
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

type Route = (response: ServerResponse, options: HealthServerOptions) => Promise<void>;

const routes: Readonly<Record<string, Route>> = {
  '/livez': async (response) => sendJson(response, 200, { status: 'ok' }),
  '/readyz': async (response, { readiness, logger }) => {
    const report = await readiness.report();
    // Reasons are for the log: they may name hosts.
    if (!report.ready) logger.warn({ ...report }, 'not ready');
    const checks = Object.fromEntries(Object.entries(report.checks).map(([name, result]) => [name, result === 'ok' ? 'ok' : 'failed']));
    sendJson(response, report.ready ? 200 : 503, { status: report.ready ? 'ok' : 'unavailable', state: report.state, checks });
  },
  '/metrics': async (response, { registry }) => {
    const text = await registry.metrics();
    response.writeHead(200, { 'content-type': registry.contentType }).end(text);
  },
};

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}
