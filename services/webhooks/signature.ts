/** Standard Webhooks 1.0 signatures: symmetric, one per active secret. https://github.com/standard-webhooks/standard-webhooks */
import { createHmac } from 'node:crypto';

export interface SignedMessage {
  /** `webhook-id`: the same for every attempt, so that receivers can drop repeats. */
  readonly id: string;
  /** Unix seconds of this attempt. */
  readonly timestampSeconds: number;
  /** Exactly the bytes that are sent. */
  readonly body: string;
}

/** The three headers of the standard. `secrets` are `whsec_` + base64; several while one is being rotated out. */
export function signatureHeaders(message: SignedMessage, secrets: readonly string[]): Record<string, string> {
  return {
    'webhook-id': message.id,
    'webhook-timestamp': String(message.timestampSeconds),
    'webhook-signature': secrets.map((secret) => sign(message, secret)).join(' '),
  };
}

/** v1 = base64(HMAC-SHA256(base64decode(secret without prefix), id "." timestamp "." body)). */
function sign({ id, timestampSeconds, body }: SignedMessage, secret: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestampSeconds}.${body}`).digest('base64')}`;
}
