/** Casts from data set to input: exact where they are made, refused where they would lose something. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canCast, castElements } from '../../../../services/engine/data/cast-elements.js';
import { float16ToNumber, numberToFloat16 } from '../../../../services/engine/ir/half-precision.js';
import { float32Values, int64Tensor, integerValues, tensorOf } from '../../../../services/engine/ir/index.js';

describe('castElements', () => {
  test('float64 to float32 rounds to nearest, as Math.fround does', () => {
    fc.assert(
      fc.property(fc.array(fc.double(), { minLength: 1 }), (values) => {
        const cast = castElements(tensorOf('float64', [values.length], Float64Array.from(values)), 'float32', 'a');
        expect(Array.from(float32Values(cast))).toEqual(values.map(Math.fround));
      }),
    );
  });

  test('integers keep their values when they fit', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -128, max: 127 }), { minLength: 1 }), (values) => {
        expect(integerValues(castElements(int64Tensor([values.length], values), 'int8', 'a'))).toEqual(values);
      }),
    );
  });

  test.each([
    [[300], 'uint8'],
    [[-1], 'uint64'],
    [[2 ** 31], 'int32'],
    [[2], 'bool'],
  ] as const)('%j does not fit %s and is named', (values, to) => {
    expect(() => castElements(int64Tensor([1], values), to, 'ids')).toThrow(
      expect.objectContaining({ code: 'dataset_invalid', message: expect.stringContaining('"ids"') }),
    );
  });

  test.each([
    ['float32', 'int64'],
    ['int64', 'float32'],
    ['int32', 'float32'],
    ['uint16', 'float16'],
    ['string', 'float32'],
  ] as const)('%s to %s is refused', (from, to) => {
    expect(canCast(from, to)).toBe(false);
  });

  test.each([
    ['uint8', 'float32'],
    ['uint8', 'float16'],
    ['float64', 'float32'],
    ['float32', 'float16'],
    ['int32', 'int64'],
    ['bool', 'uint8'],
    ['int32', 'float64'],
  ] as const)('%s to %s is made', (from, to) => {
    expect(canCast(from, to)).toBe(true);
  });
});

describe('half precision', () => {
  test('every float16 number survives the way to a number and back', () => {
    const changed = Array.from({ length: 65536 }, (_, bits) => bits).filter((bits) => {
      const value = float16ToNumber(bits);
      return !Number.isNaN(value) && numberToFloat16(value) !== bits;
    });
    expect(changed).toEqual([]);
  });

  test('a number between two float16 neighbours goes to the nearer, ties to the even one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7bfe }), fc.double({ min: 0, max: 1, noNaN: true }), (bits, share) => {
        const [low, high] = [float16ToNumber(bits), float16ToNumber(bits + 1)];
        const value = Math.fround(low + (high - low) * share);
        const middle = (low + high) / 2;
        const expected = value < middle ? bits : value > middle ? bits + 1 : bits + (bits % 2);
        expect(numberToFloat16(value)).toBe(expected);
      }),
    );
  });
});
