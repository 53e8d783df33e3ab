/** `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a quoted string or a bare token, and the request's fingerprint. */
import { createHash } from 'node:crypto';
import { AppError } from '#contracts';

const lengthMax = 255;

/** Null when the header is absent. @throws AppError(request_invalid) when it is empty, too long or not printable ASCII */
export function parseIdempotencyKey(header: string | readonly string[] | undefined): string | null {
  if (header === undefined) return null;
  const text = String(header).trim();
  const key = /^"(.*)"$/.exec(text)?.[1]?.replace(/\\(["\\])/g, '$1') ?? text;
  if (key.length > 0 && key.length <= lengthMax && /^[\x20-\x7e]+$/.test(key)) return key;
  throw new AppError('request_invalid', 'The header Idempotency-Key is not valid.', {
    errors: [{ pointer: 'header/idempotency-key', code: 'format', detail: `1 to ${lengthMax} printable ASCII characters are expected.` }],
  });
}

/** JSON with sorted keys: equal for equal documents, however they were written. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

export function sha256OfJson(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex');
}
