/** Whether this process should get work: its state and the checks of what it depends on, as /readyz shows them. */

export type ReadinessState = 'starting' | 'ready' | 'stopping';

export interface ReadinessReport {
  readonly ready: boolean;
  readonly state: ReadinessState;
  /** 'ok', or why not. */
  readonly checks: Readonly<Record<string, string>>;
}

export class Readiness {
  private readonly checks = new Map<string, () => Promise<unknown>>();
  state: ReadinessState = 'starting';

  /** `check` throws when the dependency cannot be used. */
  add(name: string, check: () => Promise<unknown>): void {
    this.checks.set(name, check);
  }

  /** Runs all checks at once; one that takes longer than `timeoutMs` counts as failed. */
  async report(timeoutMs = 3_000): Promise<ReadinessReport> {
    const results = await Promise.all([...this.checks].map(async ([name, check]) => [name, await outcome(check, timeoutMs)] as const));
    const ready = this.state === 'ready' && results.every(([, result]) => result === 'ok');
    return { ready, state: this.state, checks: Object.fromEntries(results) };
  }
}

async function outcome(check: () => Promise<unknown>, timeoutMs: number): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`no answer within ${timeoutMs} ms`), timeoutMs);
  });
  const result = check().then(
    () => 'ok',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  return Promise.race([result, timeout]).finally(() => clearTimeout(timer));
}
