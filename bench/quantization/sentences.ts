/** Sentences in their own length, as numbered arrays: padding would weigh like words in what `weight-only` rounds by. */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { openNpz } from '../../services/engine/data/npz.js';
import { numberedName } from '../../services/engine/data/numbered-arrays.js';
import { type ArraySpec, int64Array, writeNpz } from '../../test/support/write-npz.js';

/** Of `padded`, whose arrays are int64 [sentences, length] with `attention_mask` 1 for the words; made once. */
export async function sentencesInOwnLength(padded: string, path: string): Promise<string> {
  if (existsSync(path)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const arrays = await openNpz(padded, dirname(path));
  const rows = new Map<string, bigint[][]>();
  for (const [name, array] of arrays) {
    if (name === 'labels') continue;
    const { data, dims } = await array.whole();
    const [count = 0, length = 0] = dims;
    const values = new BigInt64Array(data.read().slice().buffer);
    rows.set(
      name,
      Array.from({ length: count }, (_, row) => [...values.subarray(row * length, (row + 1) * length)]),
    );
  }
  for (const array of arrays.values()) await array.close();
  const lengths = (rows.get('attention_mask') ?? []).map((mask) => mask.filter((each) => each === 1n).length);
  const cut = (name: string, row: number): ArraySpec => {
    const words = (rows.get(name)?.[row] ?? []).slice(0, lengths[row]);
    return int64Array([1, words.length], words.map(Number));
  };
  const names = [...rows.keys()];
  await writeNpz(path, Object.fromEntries(lengths.flatMap((_, row) => names.map((name) => [numberedName(name, row), cut(name, row)]))));
  return path;
}
