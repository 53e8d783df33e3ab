import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEgressAllowList, createGuardedDispatcher, type EgressException, type ResolveAll } from '#platform/egress';

describe('the guard at connect time', () => {
  let server: Server;
  let port: number;
  let calls = 0;
  beforeAll(async () => {
    server = createServer((_, response) => {
      calls += 1;
      response.end('reached');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  async function call(host: string, options: { addresses?: string[]; allow?: EgressException[] } = {}) {
    const addresses = (options.addresses ?? []).map((address) => ({ address, family: 4 }));
    const resolve: ResolveAll = (_host, _options, done) => done(null, addresses);
    const allow = createEgressAllowList(options.allow ?? []);
    const dispatcher = createGuardedDispatcher({ allow, connectTimeoutMs: 300, responseTimeoutMs: 1_000, resolve });
    try {
      return await (await request(`http://${host}:${port}/`, { dispatcher })).body.text();
    } finally {
      await dispatcher.destroy();
    }
  }
  const refused = expect.objectContaining({ code: 'egress_refused' });

  it('a literal private address is refused without a connection', async () => {
    for (const host of ['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]']) await expect(call(host)).rejects.toEqual(refused);
    expect(calls).toBe(0);
  });

  it('a name that resolves to a private address is refused', async () => {
    await expect(call('rebound.example', { addresses: ['127.0.0.1'] })).rejects.toEqual(refused);
    expect(calls).toBe(0);
  });

  it('a name with one public and one private address is refused altogether', async () => {
    await expect(call('mixed.example', { addresses: ['1.1.1.1', '127.0.0.1'] })).rejects.toEqual(refused);
    expect(calls).toBe(0);
  });

  it('DNS rebinding: each call resolves anew and judges the answer it connects to, whatever was allowed before', async () => {
    const answers = ['127.0.0.1', '127.0.0.2'];
    const resolve: ResolveAll = (_host, _options, done) => done(null, [{ address: answers.shift() ?? '', family: 4 }]);
    const allow = createEgressAllowList([{ kind: 'cidr', cidr: '127.0.0.1/32' }]);
    const dispatcher = createGuardedDispatcher({ allow, connectTimeoutMs: 300, responseTimeoutMs: 1_000, resolve });
    const url = `http://rebinding.example:${port}/`;
    expect(await (await request(url, { dispatcher })).body.text()).toBe('reached');
    await expect(request(url, { dispatcher })).rejects.toEqual(refused);
    await dispatcher.destroy();
    calls = 0;
  });

  it('the same name is let through when the operator allowed its range', async () => {
    const allow = [{ kind: 'cidr' as const, cidr: '127.0.0.0/8' }];
    expect(await call('inside.example', { addresses: ['127.0.0.1'], allow })).toBe('reached');
  });

  it('an allowed host:port is let through, the same host at another port is not', async () => {
    expect(await call('127.0.0.1', { allow: [{ kind: 'host', host: '127.0.0.1', port }] })).toBe('reached');
    await expect(call('127.0.0.1', { allow: [{ kind: 'host', host: '127.0.0.1', port: port + 1 }] })).rejects.toEqual(refused);
  });
});
