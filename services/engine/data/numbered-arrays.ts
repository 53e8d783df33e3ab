/** Samples of different sizes: one array per sample, NAME_0, NAME_1, ... instead of one array NAME with a sample axis. */
import { EngineError } from '../engine-errors.js';

export function numberedName(base: string, sample: number): string {
  return `${base}_${sample}`;
}

/**
 * How many samples are numbered under `base`; 0 when the first one is missing. Throws EngineError `dataset_invalid` when there are
 * more of them behind a gap.
 */
export function numberedCount(names: ReadonlyMap<string, unknown>, base: string): number {
  if (names.has(base) || !names.has(numberedName(base, 0))) return 0;
  let count = 0;
  while (names.has(numberedName(base, count))) count += 1;
  const behind = [...names.keys()].find((name) => isNumbered(name, base) && Number(name.slice(base.length + 1)) >= count);
  if (behind !== undefined) {
    const lacking = numberedName(base, count);
    throw new EngineError(
      'dataset_invalid',
      `The data set holds "${behind}", but lacks "${lacking}": samples are numbered from 0 without gaps.`,
      {
        array: lacking,
      },
    );
  }
  return count;
}

/** Whether `name` is a sample of `base`, whatever others there are. */
export function isNumbered(name: string, base: string): boolean {
  return name.startsWith(`${base}_`) && /^(0|[1-9]\d*)$/.test(name.slice(base.length + 1));
}
