/** The early check of an address that a customer gave: feedback when it is saved. The guard at connect time is what protects. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { AppError } from '#contracts';
import { type EgressAllowList, isAllowedAddress, isAllowedHost, isExceptedAddress } from './address-rules.js';

/** The host of a URL as sockets want it: without the brackets of an IPv6 literal. */
export function socketHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, '');
}

export function urlPort(url: URL): number {
  return url.port === '' ? (url.protocol === 'http:' ? 80 : 443) : Number(url.port);
}

const refuse = (message: string) => new AppError('egress_refused', message);

/**
 * What can be said without the network: scheme, credentials, literal addresses. `http:` is for targets that the operator allowed by
 * name: a host:port, or a literal address in an allowed range. Returns the parsed URL or throws AppError egress_refused.
 */
export function parseEgressUrl(text: string, allow: EgressAllowList): URL {
  if (!URL.canParse(text)) throw refuse('The URL cannot be parsed.');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse('Only https URLs can be called.');
  if (url.username !== '' || url.password !== '') throw refuse('The URL must not hold credentials.');
  const host = socketHost(url);
  if (isAllowedHost(allow, host, urlPort(url))) return url;
  if (isIP(host) !== 0 && !isAllowedAddress(allow, host)) throw refuse(`The address ${host} may not be called.`);
  if (url.protocol === 'http:' && !isExceptedAddress(allow, host)) throw refuse('Only https URLs can be called.');
  return url;
}

/** parseEgressUrl, and one look at the addresses of the name now. A name that does not resolve is refused too. */
export async function checkUrl(text: string, allow: EgressAllowList): Promise<URL> {
  const url = parseEgressUrl(text, allow);
  const host = socketHost(url);
  if (isAllowedHost(allow, host, urlPort(url)) || isIP(host) !== 0) return url;
  const addresses = await lookup(host, { all: true }).catch(() => []);
  if (addresses.length === 0) throw refuse(`The host ${host} cannot be resolved.`);
  const refused = addresses.find(({ address }) => !isAllowedAddress(allow, address));
  if (refused !== undefined) throw refuse(`The host ${host} resolves to ${refused.address}, which may not be called.`);
  return url;
}
