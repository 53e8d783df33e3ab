/** Idempotency keys: the answer to the first request is stored in the transaction that did its work, and replayed for a day. */
import { AppError } from '#contracts';
import type { Db } from './database.js';
import type { Prisma } from './generated/client.js';

export interface IdempotentRequest {
  /** Method and path template, e.g. "POST /v1/jobs". */
  readonly operation: string;
  readonly key: string;
  /** SHA-256 of the canonical request. */
  readonly fingerprint: string;
}

export interface StoredAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly resourceId: string;
}

export const idempotencyKeyHours = 24;

/**
 * Claims the key for this transaction and stores the answer that will be sent when it commits; returns null.
 * Returns the earlier answer when the key was used with the same request.
 * @throws AppError(idempotency_in_flight) while another transaction holds the key, idempotency_mismatch for another request
 */
export async function claimIdempotencyKey(
  tx: Db,
  tenantId: string,
  { operation, key, fingerprint, answer }: IdempotentRequest & { readonly answer: StoredAnswer },
): Promise<StoredAnswer | null> {
  const lockName = `idempotency:${tenantId}:${operation}:${key}`;
  const [lock] = await tx.$queryRaw<{ free: boolean }[]>`SELECT pg_try_advisory_xact_lock(hashtextextended(${lockName}, 0)) AS free`;
  if (lock?.free !== true) {
    throw new AppError('idempotency_in_flight', 'The first request with this Idempotency-Key has not been answered yet.', {
      headers: { 'Retry-After': '1' },
    });
  }
  const expiresAt = new Date(Date.now() + idempotencyKeyHours * 3_600_000);
  const claimed = await tx.$executeRaw`
    INSERT INTO idempotency_key (tenant_id, operation, key, fingerprint, response_status, response_body, resource_id, expires_at)
    VALUES (${tenantId}, ${operation}, ${key}, ${fingerprint}, ${answer.status}, ${JSON.stringify(answer.body)}::jsonb,
            ${answer.resourceId}, ${expiresAt})
    ON CONFLICT (tenant_id, operation, key) DO UPDATE
      SET fingerprint = EXCLUDED.fingerprint, response_status = EXCLUDED.response_status, response_body = EXCLUDED.response_body,
          resource_id = EXCLUDED.resource_id, created_at = now(), expires_at = EXCLUDED.expires_at
      WHERE idempotency_key.expires_at <= now()`;
  if (claimed === 1) return null;
  const stored = await tx.idempotencyKey.findUniqueOrThrow({ where: { tenantId_operation_key: { tenantId, operation, key } } });
  if (stored.fingerprint !== fingerprint) {
    throw new AppError('idempotency_mismatch', 'This Idempotency-Key was used with another request body.');
  }
  return { status: stored.responseStatus ?? 202, body: stored.responseBody as Prisma.JsonValue, resourceId: stored.resourceId ?? '' };
}

/** Forgets keys whose day has passed; returns how many. */
export function deleteExpiredIdempotencyKeys(db: Db): Promise<number> {
  return db.$executeRaw`DELETE FROM idempotency_key WHERE expires_at < now()`;
}
