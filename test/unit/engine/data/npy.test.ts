/** The .npy reader: what numpy writes is read to the bit, everything else is refused with the array's name. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NpyArray, parseNpyHeader } from '../../../../services/engine/data/npy.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, npyBytes } from '../../../support/write-npz.js';

const spec = (over: Partial<ArraySpec>): ArraySpec => ({ descr: '<f4', shape: [2, 3], bytes: new Uint8Array(24), ...over });

async function openArray(array: ArraySpec, prefix = 0): Promise<NpyArray> {
  const path = join(await temporaryFolder(), 'a.npy');
  const bytes = npyBytes(array);
  await writeFile(path, Buffer.concat([Buffer.alloc(prefix, 7), bytes]));
  return NpyArray.open('a', { path, offset: prefix, byteLength: bytes.length });
}

describe('parseNpyHeader', () => {
  test.each([
    ['<f4', 'float32', false],
    ['>f8', 'float64', true],
    ['<f2', 'float16', false],
    ['|i1', 'int8', false],
    ['|u1', 'uint8', false],
    ['|b1', 'bool', false],
    ['>i2', 'int16', true],
    ['<u4', 'uint32', false],
    ['<i8', 'int64', false],
    ['=u8', 'uint64', false],
  ])('%s is %s', (descr, dataType, bigEndian) => {
    expect(parseNpyHeader(npyBytes(spec({ descr })), 'a')).toMatchObject({ dataType, bigEndian, dims: [2, 3] });
  });

  test.each([
    ['pickled objects', spec({ descr: '|O' }), 'pickled'],
    ['text', spec({ descr: '<U8' }), 'not supported'],
    ['complex numbers', spec({ descr: '<c8' }), 'not supported'],
    ['column order', spec({ fortran: true }), 'ascontiguousarray'],
    ['a size beyond counting', spec({ shape: [2 ** 40, 2 ** 40] }), 'not usable'],
  ])('%s are refused, naming the array', (_, array, reason) => {
    expect(() => parseNpyHeader(npyBytes(array), 'pixels')).toThrow(
      expect.objectContaining({ code: 'dataset_invalid', message: expect.stringMatching(new RegExp(`"pixels".*${reason}`)) }),
    );
  });

  test('column order of a vector is row order', () => {
    expect(parseNpyHeader(npyBytes(spec({ shape: [1, 6], fortran: true })), 'a').dims).toEqual([1, 6]);
  });

  test('a scalar has no axes', () => {
    expect(parseNpyHeader(npyBytes(spec({ shape: [], bytes: new Uint8Array(4) })), 'a').dims).toEqual([]);
  });

  test('any bytes end in a header or in dataset_invalid', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(127), (noise, at) => {
        const bytes = Uint8Array.from(npyBytes(spec({})));
        bytes.set(noise.subarray(0, bytes.length - at), at);
        try {
          parseNpyHeader(bytes, 'a');
        } catch (error) {
          expect(error).toMatchObject({ code: 'dataset_invalid' });
        }
      }),
    );
  });
});

describe('NpyArray', () => {
  test('any rows, in any order, are those of the whole array, wherever the array lies in the file', async () => {
    const values = Float32Array.from({ length: 40 * 7 }, (_, index) => index * 1.5);
    const array = await openArray(float32Array([40, 7], values), 13);
    await fc.assert(
      fc.asyncProperty(fc.nat(39), fc.integer({ min: 1, max: 40 }), async (start, wanted) => {
        const count = Math.min(wanted, 40 - start);
        const rows = await array.rows(start, count);
        expect(rows.dims).toEqual([count, 7]);
        const expected = values.subarray(start * 7, (start + count) * 7);
        expect(Buffer.from(rows.data.read())).toEqual(Buffer.from(expected.buffer, expected.byteOffset, expected.byteLength));
      }),
    );
    await array.close();
  });

  test('rows handed out stay as they are when later ones are read', async () => {
    const row = 2 ** 18;
    const values = Float32Array.from({ length: 4 * row }, (_, index) => Math.floor(index / row));
    const array = await openArray(float32Array([4, row], values));
    const first = (await array.rows(0, 1)).data.read();
    await array.rows(3, 1);
    expect(new DataView(first.buffer, first.byteOffset).getFloat32(0, true)).toBe(0);
    await array.close();
  });

  test('big-endian elements become little-endian', async () => {
    const array = await openArray({ descr: '>i4', shape: [2], bytes: Uint8Array.of(0, 0, 0, 1, 0, 0, 1, 0) });
    expect([...(await array.rows(0, 2)).data.read()]).toEqual([1, 0, 0, 0, 0, 1, 0, 0]);
    await array.close();
  });

  test('an array shorter than its header promises is refused when it is opened', async () => {
    await expect(openArray(spec({ bytes: new Uint8Array(20) }))).rejects.toMatchObject({
      code: 'dataset_invalid',
      message: expect.stringContaining('promises'),
    });
  });
});
