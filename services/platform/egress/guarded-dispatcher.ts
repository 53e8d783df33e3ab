/** The guard at connect time: an undici dispatcher that opens sockets to allowed addresses only, whatever the name said before. */
import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { AppError } from '#contracts';
import { type EgressAllowList, isAllowedAddress, isAllowedHost } from './address-rules.js';

/** All addresses of a name, as node:dns lookup does it with `all: true`. */
export type ResolveAll = (
  host: string,
  options: LookupOptions & { all: true },
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export interface GuardedDispatcherOptions {
  readonly allow: EgressAllowList;
  readonly connectTimeoutMs: number;
  /** Time until the response head, and between two pieces of its body. */
  readonly responseTimeoutMs: number;
  readonly resolve?: ResolveAll;
}

const refuse = (address: string) => new AppError('egress_refused', `The address ${address} may not be called.`);

/**
 * Sockets are opened in three guarded steps: a literal address is checked as it stands (sockets skip `lookup` for it), a name is
 * resolved and refused when any of its addresses is, and the peer of the open socket is checked again. Requests through it fail with
 * AppError egress_refused. Proxies of the environment are not used.
 */
export function createGuardedDispatcher(options: GuardedDispatcherOptions): Dispatcher {
  const { allow, connectTimeoutMs, responseTimeoutMs } = options;
  const timeouts = { timeout: connectTimeoutMs, autoSelectFamily: true };
  const open = buildConnector(timeouts);
  const guarded = buildConnector({ ...timeouts, lookup: guardedLookup(allow, options.resolve ?? systemLookup) });

  const connect: buildConnector.connector = (target, done) => {
    const host = target.hostname.replace(/^\[|\]$/g, '');
    const port = Number(target.port) || (target.protocol === 'http:' ? 80 : 443);
    if (isAllowedHost(allow, host, port)) return open(target, done);
    if (isIP(host) !== 0 && !isAllowedAddress(allow, host)) return done(refuse(host), null);
    guarded(target, (...result) => {
      const [error, socket] = result;
      if (error !== null || socket === null) return done(...result);
      if (isAllowedAddress(allow, socket.remoteAddress ?? '')) return done(...result);
      socket.destroy();
      done(refuse(socket.remoteAddress ?? 'unknown'), null);
    });
  };
  return new Agent({
    connect,
    headersTimeout: responseTimeoutMs,
    bodyTimeout: responseTimeoutMs,
    // One request per socket: a kept one would outlive the answer that the name gave.
    pipelining: 0,
    maxResponseSize: -1,
  });
}

function guardedLookup(allow: EgressAllowList, resolve: ResolveAll): LookupFunction {
  return (host, options, done) => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) return done(error ?? new Error(`${host} has no address`), []);
      const refused = addresses.find(({ address }) => !isAllowedAddress(allow, address));
      if (refused !== undefined) return done(refuse(refused.address), []);
      if (options.all === true) return done(null, addresses);
      done(null, first.address, first.family);
    });
  };
}
