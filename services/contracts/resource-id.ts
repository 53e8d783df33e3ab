/** Ids: `<prefix>_` and a ULID (https://github.com/ulid/spec), so that they sort by time of creation. */
import { randomBytes } from 'node:crypto';

export const resourcePrefixes = {
  tenant: 'ten',
  apiKey: 'key',
  model: 'mdl',
  dataset: 'dst',
  job: 'job',
  artifact: 'art',
  webhookEndpoint: 'whe',
  event: 'evt',
  delivery: 'dlv',
  attempt: 'att',
  request: 'req',
} as const;
export type Resource = keyof typeof resourcePrefixes;

const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

function encode(value: bigint, length: number): string {
  let text = '';
  for (let rest = value, i = 0; i < length; i++, rest >>= 5n) text = alphabet.charAt(Number(rest & 31n)) + text;
  return text;
}

/** 48 bits of time in milliseconds, then 80 random bits: 10 + 16 characters of Crockford base32. */
export function newId(resource: Resource, now: number = Date.now()): string {
  const random = BigInt(`0x${randomBytes(10).toString('hex')}`);
  return `${resourcePrefixes[resource]}_${encode(BigInt(now), 10)}${encode(random, 16)}`;
}

export function isId(resource: Resource, text: string): boolean {
  return new RegExp(`^${resourcePrefixes[resource]}_[0-9A-HJKMNP-TV-Z]{26}$`).test(text);
}
