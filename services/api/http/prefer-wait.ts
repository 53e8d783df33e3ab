/** `Prefer: wait=N` (RFC 7240): how long a client would like the answer to be held back. */

const secondsMax = 60;

/** Seconds, 1 to 60, or null when the client does not ask. */
export function parsePreferWait(header: string | readonly string[] | undefined): number | null {
  const text = typeof header === 'string' ? header : (header ?? []).join(',');
  const [, seconds] = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?/i.exec(text) ?? [];
  return seconds === undefined ? null : Math.min(Math.max(Number(seconds), 1), secondsMax);
}
