/** What the exit code of `lathe` says: 0 done, 1 failed, 2 wrong call or recipe, 3 quality gate missed, 130 interrupted. */
export const exitCodes = { done: 0, failed: 1, usage: 2, gateMissed: 3, interrupted: 130 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** The caller's mistake: a wrong option, a recipe that is none, a file that is not there. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'usage';
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: ExitCode;
}

const exitCodeOf: Readonly<Record<string, ExitCode>> = {
  usage: exitCodes.usage,
  recipe_invalid: exitCodes.usage,
  quality_gate_failed: exitCodes.gateMissed,
  canceled: exitCodes.interrupted,
};

const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: 'There is no file',
  EISDIR: 'This is a folder, not a file:',
  EACCES: 'No permission for',
  ENOSPC: 'No space left for',
};

/** What to tell the person at the terminal. The engine is loaded on demand, so its errors are known by name, not by class. */
export function describeFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { code: 'internal', message: String(error), exitCode: exitCodes.failed };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'internal';
  if (error.name === 'AbortError') return { code: 'canceled', message: 'Interrupted.', exitCode: exitCodes.interrupted };
  const known = systemErrors[code];
  const path = 'path' in error && typeof error.path === 'string' ? error.path : '';
  const message = known === undefined ? error.message : `${known} ${path}`.trim();
  return { code, message, exitCode: exitCodeOf[code] ?? exitCodes.failed };
}
