/** Checkpoints: what was written comes back bit for bit, and what is damaged is never taken for one. */
import { open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkpointFile } from '../../../../services/engine/training/checkpoint.js';
import {
  type Checkpoint,
  checkpointChunks,
  decodeCheckpoint,
  type JsonValue,
} from '../../../../services/engine/training/checkpoint-format.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

/** Any bits: NaNs with payloads, denormals, -0. */
const arrays = fc
  .array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.uint32Array({ maxLength: 20 })), { maxLength: 6 })
  .map((entries) => new Map(entries.map(([name, bits]) => [name, new Float32Array(bits.slice().buffer)])));
const checkpoints: fc.Arbitrary<Checkpoint> = fc.record({
  arrays,
  integers: fc
    .array(
      fc.tuple(
        fc.string(),
        fc.maxSafeInteger().map((value) => value + 0),
      ),
    )
    .map((entries) => new Map(entries)),
  facts: fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as JsonValue),
});

const bits = (checkpoint: Checkpoint | undefined) =>
  checkpoint && {
    ...checkpoint,
    arrays: [...checkpoint.arrays].map(([name, values]) => [name, [...new Uint32Array(values.slice().buffer)]]),
  };
const encoded = (checkpoint: Checkpoint): Uint8Array => new Uint8Array(Buffer.concat([...checkpointChunks(checkpoint)]));

const sample: Checkpoint = {
  arrays: new Map([
    ['w', Float32Array.of(1, -0, Number.NaN, 1e-45)],
    ['empty', new Float32Array()],
    ['m/w', new Float32Array(5000).fill(0.5)],
  ]),
  integers: new Map([['step', 12]]),
  facts: { recipe: 'abc', losses: [0.1, 1 / 3], best: null },
};

describe('the format', () => {
  test('comes back bit for bit', () => {
    fc.assert(
      fc.property(checkpoints, (checkpoint) => {
        expect(bits(decodeCheckpoint(encoded(checkpoint)))).toEqual(bits(checkpoint));
      }),
    );
  });

  test('a changed byte anywhere, or a missing end, is told', () => {
    const whole = encoded({ ...sample, arrays: new Map([['w', Float32Array.of(1, 2, 3)]]) });
    for (let at = 0; at < whole.length; at++) {
      const changed = whole.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      expect(() => decodeCheckpoint(changed)).toThrow(expect.objectContaining({ name: 'CheckpointUnreadable' }));
      expect(() => decodeCheckpoint(whole.slice(0, at))).toThrow(expect.objectContaining({ name: 'CheckpointUnreadable' }));
    }
  });

  test('another version is named', () => {
    const other = encoded(sample);
    new DataView(other.buffer).setUint32(8, 2, true);
    expect(() => decodeCheckpoint(other)).toThrow(/version 2/);
  });

  test('a number that is not whole is no integer', () => {
    expect(() => encoded({ ...sample, integers: new Map([['step', 0.5]]) })).toThrow(RangeError);
  });
});

describe('checkpointFile', () => {
  test('reads what was written last, and leaves no draft', async () => {
    const folder = await temporaryFolder();
    const store = checkpointFile({ path: join(folder, 'run.checkpoint') });
    expect(await store.read()).toBeUndefined();
    await store.write({ ...sample, facts: 'first' });
    await store.write(sample);
    expect(bits(await store.read())).toEqual(bits(sample));
    expect(await readdir(folder)).toEqual(['run.checkpoint']);
    await store.remove();
    expect(await readdir(folder)).toEqual([]);
    expect(await store.read()).toBeUndefined();
  });

  test('a draft that was cut off by a kill does not touch the checkpoint', async () => {
    const folder = await temporaryFolder();
    const store = checkpointFile({ path: join(folder, 'run.checkpoint') });
    await store.write(sample);
    await writeFile(join(folder, 'run.checkpoint.draft'), (await readFile(join(folder, 'run.checkpoint'))).subarray(0, 100));
    expect(bits(await store.read())).toEqual(bits(sample));
    await store.write({ ...sample, facts: 'next' });
    expect((await store.read())?.facts).toBe('next');
  });

  test('a write that fails leaves the checkpoint before', async () => {
    const folder = await temporaryFolder();
    const store = checkpointFile({ path: join(folder, 'run.checkpoint') });
    await store.write(sample);
    await expect(store.write({ ...sample, integers: new Map([['step', Number.NaN]]) })).rejects.toThrow(RangeError);
    expect(bits(await store.read())).toEqual(bits(sample));
  });

  test.each<[string, (path: string) => Promise<void>]>([
    ['cut off', (path) => truncate(path, 1000)],
    ['empty', (path) => truncate(path, 0)],
    ['of something else', (path) => writeFile(path, 'hello '.repeat(50))],
    [
      'changed in one byte',
      async (path) => {
        const file = await open(path, 'r+');
        await file.write(Buffer.of(0xff), 0, 1, 5000);
        await file.close();
      },
    ],
  ])('a file that is %s counts as absent, with the reason told', async (_, damage) => {
    const path = join(await temporaryFolder(), 'run.checkpoint');
    const reasons: string[] = [];
    const store = checkpointFile({ path, onUnreadable: (reason) => reasons.push(reason) });
    await store.write(sample);
    await damage(path);
    expect(await store.read()).toBeUndefined();
    expect(reasons).toHaveLength(1);
  });
});
