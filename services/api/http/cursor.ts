/** Opaque page cursors: a position in a list, signed, and bound to the tenant, the list and its filters. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { AppError } from '#contracts';

export interface CursorPosition {
  readonly createdAt: Date;
  readonly id: string;
}

export interface CursorCodec {
  /** `scope` is everything that must be the same when the cursor comes back: tenant, list, filters. */
  encode(position: CursorPosition, scope: string): string;
  /** @throws AppError(request_invalid) for a cursor that this list did not hand out */
  decode(cursor: string, scope: string): CursorPosition;
}

const tagBytes = 12;

export function cursorCodec(key: Buffer): CursorCodec {
  const sign = (payload: Buffer, scope: string) =>
    createHmac('sha256', key).update(scope).update('\0').update(payload).digest().subarray(0, tagBytes);
  const refuse = () =>
    new AppError('request_invalid', 'The cursor does not belong to this list and its filters.', {
      errors: [{ pointer: 'query/after', code: 'cursor', detail: 'Use next_cursor of the page before, with the same filters.' }],
    });
  return {
    encode: ({ createdAt, id }, scope) => {
      const payload = Buffer.from(`${createdAt.getTime()}.${id}`);
      return Buffer.concat([sign(payload, scope), payload]).toString('base64url');
    },
    decode: (cursor, scope) => {
      const bytes = Buffer.from(cursor, 'base64url');
      const payload = bytes.subarray(tagBytes);
      if (bytes.length <= tagBytes || !timingSafeEqual(bytes.subarray(0, tagBytes), sign(payload, scope))) throw refuse();
      const [time = '', id = ''] = payload.toString().split('.');
      return { createdAt: new Date(Number(time)), id };
    },
  };
}
