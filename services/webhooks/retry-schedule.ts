/** When a failed delivery is tried again: a fixed schedule with jitter, later when the receiver asks for it. */

/** Receivers cannot push us further out than this. */
const retryAfterMaxMs = 24 * 3600 * 1000;
const jitter = 0.2;

export interface FailedAttempt {
  /** From 1. */
  readonly number: number;
  /** What the receiver asked for in Retry-After, with 429 or 503. */
  readonly retryAfterMs: number | null;
}

/**
 * Milliseconds until the next attempt, or null when the schedule is used up. `delaysMs[n]` is the wait before attempt n + 1, give or
 * take a fifth (`random` in [0, 1)), so that deliveries that failed together do not come back together.
 */
export function nextDelayMs(failed: FailedAttempt, delaysMs: readonly number[], random: number): number | null {
  const base = delaysMs[failed.number];
  if (base === undefined) return null;
  const scheduled = base * (1 - jitter + 2 * jitter * random);
  return Math.round(Math.max(scheduled, Math.min(failed.retryAfterMs ?? 0, retryAfterMaxMs)));
}

/** RFC 9110 10.2.3: seconds or an HTTP date. Null when it is neither. */
export function parseRetryAfter(value: string | undefined, nowMs: number): number | null {
  if (value === undefined) return null;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}
