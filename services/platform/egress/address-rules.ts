/** Egress rules: which IP addresses the service may connect to on behalf of a customer (OWASP API7:2023, SSRF). */
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = readonly [Address, number];

/** One exception an operator made: an address range, or one host and port whatever it resolves to. */
export type EgressException =
  | { readonly kind: 'cidr'; readonly cidr: string }
  | { readonly kind: 'host'; readonly host: string; readonly port: number };

export interface EgressAllowList {
  readonly ranges: readonly Range[];
  /** `host:port`, lower case, IPv6 literals without brackets. */
  readonly hosts: ReadonlySet<string>;
}

/** Throws when a range is not a CIDR: the configuration has checked it before. */
export function createEgressAllowList(exceptions: readonly EgressException[]): EgressAllowList {
  const ranges: Range[] = [];
  const hosts = new Set<string>();
  for (const exception of exceptions) {
    if (exception.kind === 'cidr') ranges.push(ipaddr.parseCIDR(exception.cidr));
    else hosts.add(hostKey(exception.host, exception.port));
  }
  return { ranges, hosts };
}

const hostKey = (host: string, port: number) => `${host.toLowerCase().replace(/^\[|\]$/g, '')}:${port}`;

export function isAllowedHost(allow: EgressAllowList, host: string, port: number): boolean {
  return allow.hosts.has(hostKey(host, port));
}

/** True when `address` lies in a range of the allow-list. */
export function isExceptedAddress(allow: EgressAllowList, address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== null && allow.ranges.some((range) => contains(range, parsed));
}

/** True when `address` is global unicast or in a range of the allow-list. Whatever cannot be parsed is refused. */
export function isAllowedAddress(allow: EgressAllowList, address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== null && (isGlobalUnicast(parsed) || isExceptedAddress(allow, address));
}

function contains([base, bits]: Range, address: Address): boolean {
  return base.kind() === address.kind() && address.match(base, bits);
}

/**
 * An address that only wraps an IPv4 address is judged by that one, because that is where the packet ends:
 * ::ffff:0:0/96 (RFC 4291 2.5.5.2) and the well-known NAT64 prefix 64:ff9b::/96 (RFC 6052).
 */
function parseAddress(text: string): Address | null {
  const [bare = ''] = text.split('%'); // fe80::1%eth0
  if (!ipaddr.IPv4.isValidFourPartDecimal(bare) && !ipaddr.IPv6.isValid(bare)) return null;
  const address = ipaddr.parse(bare);
  const wraps = address instanceof ipaddr.IPv6 && (address.isIPv4MappedAddress() || contains(nat64, address));
  return wraps ? new ipaddr.IPv4(address.toByteArray().slice(12)) : address;
}
const nat64: Range = ipaddr.parseCIDR('64:ff9b::/96');

/**
 * range() names every block of the IANA special-purpose registries, 6to4 and Teredo among them, and calls the rest 'unicast'. In IPv6
 * only 2000::/3 is global unicast (RFC 4291 2.4), so that ::/96 and whatever is assigned later stay closed.
 */
function isGlobalUnicast(address: Address): boolean {
  return address.range() === 'unicast' && (address.kind() === 'ipv4' || contains(globalUnicast, address));
}
const globalUnicast: Range = ipaddr.parseCIDR('2000::/3');
