/** The SHA-256 that a client declares for its upload: `Repr-Digest` (RFC 9530) or `X-Checksum-Sha256`. */
import type { IncomingHttpHeaders } from 'node:http';
import { AppError } from '#contracts';

/** Lower-case hex, or null when nothing was declared. @throws AppError(request_invalid) */
export function declaredSha256(headers: IncomingHttpHeaders): string | null {
  const plain = headers['x-checksum-sha256'];
  if (plain !== undefined) {
    if (typeof plain === 'string' && /^[0-9a-f]{64}$/i.test(plain.trim())) return plain.trim().toLowerCase();
    throw headerError('x-checksum-sha256', '64 hexadecimal digits are expected.');
  }
  const structured = headers['repr-digest'];
  if (structured === undefined) return null;
  const [, base64] = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/.exec(String(structured)) ?? [];
  if (base64 === undefined) throw headerError('repr-digest', 'sha-256=:<base64>: is expected.');
  return Buffer.from(base64, 'base64').toString('hex');
}

/** The value of `Repr-Digest` for content whose SHA-256 is known. */
export const reprDigest = (sha256: string): string => `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`;

function headerError(name: string, detail: string): AppError {
  const errors = [{ pointer: `header/${name}`, code: 'format', detail }];
  return new AppError('request_invalid', `The header ${name} is not valid.`, { errors });
}
