/** What a receiver does with a delivery before it believes it: Standard Webhooks 1.0 verification, symmetric scheme v1. */
import { createHmac, timingSafeEqual } from 'node:crypto';

const TOLERANCE_SECONDS = 300;

export interface ReceivedWebhook {
  readonly id: string;
  /** Unix seconds, as sent. */
  readonly timestamp: string;
  /** Space-separated `v1,<base64>`; several while a secret is rotated. */
  readonly signature: string;
  /** The bytes as received: parsed and printed again they would not have the same signature. */
  readonly body: Buffer;
}

/** signature = base64(HMAC-SHA-256(secret, id "." timestamp "." body)); `secret` is `whsec_` and base64. */
export function isAuthentic(webhook: ReceivedWebhook, secret: string, now: number = Date.now()): boolean {
  if (!(Math.abs(now / 1000 - Number(webhook.timestamp)) <= TOLERANCE_SECONDS)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const expected = createHmac('sha256', key).update(`${webhook.id}.${webhook.timestamp}.`).update(webhook.body).digest();
  return webhook.signature.split(' ').some((entry) => {
    const [version, digest = ''] = entry.split(',');
    const given = Buffer.from(digest, 'base64');
    return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
  });
}
