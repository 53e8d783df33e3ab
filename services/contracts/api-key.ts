/** The API key: `lathe_<env>_<key id, 12>_<secret, 32><crc32, 6>` in base62; the checksum refuses typing errors without a lookup. */
import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** For secret scanners. */
export const apiKeyPattern = /^lathe_([a-z]{2,8})_([0-9A-Za-z]{12})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})$/;

/** What a key may do; each route names the scope that it needs. `admin` holds all of them. */
export const apiKeyScopes = [
  'models:read',
  'models:write',
  'jobs:read',
  'jobs:write',
  'jobs:cancel',
  'artifacts:read',
  'webhooks:manage',
  'keys:manage',
  'admin',
] as const;
export type ApiKeyScope = (typeof apiKeyScopes)[number];

export interface ParsedApiKey {
  /** Public part, for the look-up. */
  readonly keyId: string;
  readonly secret: string;
}

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

function randomBase62(length: number): string {
  return Array.from({ length }, () => alphabet.charAt(randomInt(62))).join('');
}

/** CRC-32 (zlib polynomial) of everything before it; 62^6 > 2^32, so six digits hold it. */
function checksum(text: string): string {
  let digits = '';
  for (let rest = crc32(text), i = 0; i < 6; i++, rest = Math.floor(rest / 62)) digits = alphabet.charAt(rest % 62) + digits;
  return digits;
}

/** A new key with 190 random bits in the secret. */
export function newApiKey(environment = 'live'): string {
  const body = `lathe_${environment}_${randomBase62(12)}_${randomBase62(32)}`;
  return body + checksum(body);
}

/** Null when the text does not have the form of a key or its checksum is wrong. */
export function parseApiKey(text: string): ParsedApiKey | null {
  const [, , keyId, secret, tail] = apiKeyPattern.exec(text) ?? [];
  if (keyId === undefined || secret === undefined || tail === undefined) return null;
  return checksum(text.slice(0, -tail.length)) === tail ? { keyId, secret } : null;
}
