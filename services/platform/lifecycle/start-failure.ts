/** A start that failed, told to the operator: in one sentence where the cause is known, with its stack where it is not. */
import { DatabaseServerError } from '../database-server/index.js';
import type { Logger } from '../observability/index.js';

export function logStartFailure(logger: Logger, err: unknown): void {
  if (err instanceof DatabaseServerError) logger.fatal(`could not start: ${err.message}`);
  else logger.fatal({ err }, 'could not start');
}
