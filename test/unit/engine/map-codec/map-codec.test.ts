/** The coder of maps: exact for any map, tiles that stand alone, and what it makes of zeros, ramps and noise. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeMap, decodeTile, encodeMap, layoutOfMap, tileCount } from '../../../../services/engine/map-codec/index.js';
import { payloadStart, tileRange } from '../../../../services/engine/map-codec/map-layout.js';

/** Maps that are smooth, sparse or noise, of any shape, width and zero. */
const maps = fc
  .record({
    dims: fc.array(fc.integer({ min: 0, max: 19 }), { minLength: 1, maxLength: 4 }),
    bits: fc.integer({ min: 1, max: 16 }),
    roughness: fc.constantFrom(0, 1, 4, 65536),
    sparse: fc.boolean(),
    seed: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    zeroAt: fc.constantFrom(0, 0.5, 1),
    tile: fc.record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 40 }) }),
  })
  .map(({ dims, bits, roughness, sparse, seed, zeroAt, tile }) => {
    const high = 2 ** bits - 1;
    const layout = layoutOfMap(dims, { bits, zero: Math.round(zeroAt * high) }, tile);
    let state = seed;
    const random = (): number => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    let walk = Math.floor(random() * high);
    const codes = Int32Array.from({ length: dims.reduce((product, size) => product * size, 1) }, () => {
      walk = Math.min(high, Math.max(0, walk + Math.round((random() - 0.5) * 2 * roughness)));
      return sparse && random() < 0.7 ? layout.zero : walk;
    });
    return { layout, codes };
  });

test('what was coded is what is decoded, for maps of any shape', () => {
  fc.assert(
    fc.property(maps, ({ layout, codes }) => {
      const decoded = decodeMap(encodeMap(codes, layout));
      expect(decoded.layout).toEqual(layout);
      expect(decoded.codes.length).toBe(codes.length);
      expect(decoded.codes.every((code, index) => code === codes[index])).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

test('a tile is read without the bytes of the others', () => {
  fc.assert(
    fc.property(maps, fc.nat(), ({ layout, codes }, pick) => {
      fc.pre(codes.length > 0);
      const bytes = encodeMap(codes, layout);
      const index = pick % tileCount(layout);
      const tile = decodeTile(bytes, index);
      const expected = Array.from(tile.codes, (_, place) => {
        const row = tile.row + Math.floor(place / tile.columns);
        return codes[(tile.plane * layout.rows + row) * layout.columns + tile.column + (place % tile.columns)];
      });
      expect([...tile.codes]).toEqual(expected);

      const blanked = Uint8Array.from(bytes);
      const { start, end } = tileRange(bytes, layout, index);
      blanked.fill(0, payloadStart(layout), start);
      blanked.fill(0, end);
      expect(decodeTile(blanked, index)).toEqual(tile);
    }),
    { numRuns: 500 },
  );
});

test('noise grows by no more than the headers', () => {
  let state = 7;
  const codes = Int32Array.from({ length: 4096 }, () => {
    state = (state * 48271) % 2147483647;
    return state % 256;
  });
  const layout = layoutOfMap([1, 1, 64, 64], { bits: 8, zero: 0 }, { rows: 64, columns: 64 });
  // One bit per group of 16, one form, one tile.
  expect(encodeMap(codes, layout).byteLength).toBeLessThanOrEqual(20 + 4 + 2 + 4096 + 256 / 8 + 1);
});

test('an empty map and a flat one cost one bit per 16 values; a ramp about three per value', () => {
  const layout = layoutOfMap([1, 1, 64, 64], { bits: 8, zero: 0 }, { rows: 64, columns: 64 });
  const bitsOf = (code: (row: number, column: number) => number): number => {
    const codes = Int32Array.from({ length: 4096 }, (_, index) => code(Math.floor(index / 64), index % 64));
    return 8 * (encodeMap(codes, layout).byteLength - 26);
  };
  expect(bitsOf(() => 0)).toBeLessThanOrEqual(256 + 8 + 7);
  // The first group says what the level is.
  expect(bitsOf(() => 77)).toBeLessThanOrEqual(256 + 2 * 7 + 16 * 9 + 7);
  // Every residual is folded to 2, which is a zero, a one and one low bit.
  expect(bitsOf((row, column) => row + column)).toBeLessThanOrEqual(4096 * 3 + 256 + 100);
});

test('bytes that are no coded map are refused, cut ones as well', () => {
  const layout = layoutOfMap([1, 1, 16, 16], { bits: 8, zero: 0 });
  const bytes = encodeMap(
    Int32Array.from({ length: 256 }, (_, index) => (index * 37) % 256),
    layout,
  );
  expect(() => decodeMap(bytes.subarray(0, bytes.byteLength - 40))).toThrow(RangeError);
  expect(() => decodeMap(new Uint8Array(7))).toThrow(RangeError);
  expect(() => decodeMap(new Uint8Array(64).fill(255))).toThrow(RangeError);
  expect(() => encodeMap([1, 2, 3], layout)).toThrow(RangeError);
  expect(() => layoutOfMap([1, 4], { bits: 17, zero: 0 })).toThrow(/1 to 16 bits, not 17/);
});
