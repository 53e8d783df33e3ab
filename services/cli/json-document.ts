/** JSON files that the command line names: what cannot be read, or is not what it should be, is told with the file and every place. */
import { readFile } from 'node:fs/promises';
import { UsageError } from './exit-codes.js';

export interface DocumentFault {
  /** RFC 6901, from the root of the document. */
  readonly pointer: string;
  readonly message: string;
}

/** Throws UsageError when the file cannot be read or holds no JSON. */
export async function readDocument(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new UsageError(`${file} cannot be read: ${reasonOf(error)}`);
  });
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${file} is not JSON: ${reasonOf(error)}`);
  }
}

/** `kind`: what the document should be, as in 'a recipe'. Throws UsageError with one line per fault. */
export function refuseFaults(file: string, kind: string, faults: readonly DocumentFault[]): void {
  if (faults.length === 0) return;
  const lines = faults.map(({ pointer, message }) => `  ${pointer || '/'}: ${message}`);
  throw new UsageError([`${file} is not ${kind}:`, ...lines].join('\n'));
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
