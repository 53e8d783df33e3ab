/** Guarantees of the folder that keeps results between jobs. */
import { readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { textFolder } from '../../../../services/engine/pipeline/text-folder.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

describe('a folder of texts', () => {
  test('gives back what was put under the same scope and key, and nothing else', async () => {
    const folder = join(await temporaryFolder(), 'kept');
    const kept = textFolder(folder, 'scope');
    expect(await kept.get('key')).toBeUndefined();
    await kept.put('key', 'text');
    expect(await textFolder(folder, 'scope').get('key')).toBe('text');
    expect(await textFolder(folder, 'other').get('key')).toBeUndefined();
    expect(await kept.get('other')).toBeUndefined();
  });

  test('stays within its size: what was not used for longest goes', async () => {
    const folder = await temporaryFolder();
    const kept = textFolder(folder, 'scope', 250);
    const hundred = 'x'.repeat(100);
    await kept.put('first', hundred);
    await kept.put('second', hundred);
    const past = new Date(Date.now() - 60_000);
    for (const name of readdirSync(folder)) utimesSync(join(folder, name), past, past);
    await kept.get('first');
    await kept.put('third', hundred);
    expect(await kept.get('first')).toBe(hundred);
    expect(await kept.get('third')).toBe(hundred);
    expect(await kept.get('second')).toBeUndefined();
  });

  test('many writers at once leave whole entries', async () => {
    const folder = await temporaryFolder();
    const kept = textFolder(folder, 'scope');
    await Promise.all(Array.from({ length: 20 }, (_, at) => kept.put(`key ${at % 4}`, `text ${at % 4}`.repeat(1000))));
    for (let at = 0; at < 4; at += 1) expect(await kept.get(`key ${at}`)).toBe(`text ${at}`.repeat(1000));
    expect(readdirSync(folder).filter((name) => name.endsWith('.draft'))).toEqual([]);
  });
});
