/** Waiting for a condition, never for time. */

export interface WaitOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  /** What is waited for, for the message. */
  readonly what: string | (() => string);
}

/** Asks until `condition` gives true. Throws after `timeoutMs` (default 30 s), or what `condition` throws. */
export async function waitUntil(condition: () => boolean | Promise<boolean>, options: WaitOptions): Promise<void> {
  const deadline = Date.now() + (options.timeoutMs ?? 30_000);
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${typeof options.what === 'string' ? options.what : options.what()}`);
    await new Promise((resolve) => setTimeout(resolve, options.intervalMs ?? 50));
  }
}
