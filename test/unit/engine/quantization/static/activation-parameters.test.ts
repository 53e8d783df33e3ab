import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { activationCodes, activationParameters } from '../../../../../services/engine/quantization/static/activation-parameters.js';

const ends = fc.tuple(fc.float({ min: -1e4, max: 1e4, noNaN: true }), fc.float({ min: -1e4, max: 1e4, noNaN: true }));
const types = ['uint8', 'int8', 'uint16', 'int16'] as const;

describe('parameters of activations', () => {
  it('cover the range to half a step and give 0 a code of its own, for every type', () => {
    fc.assert(
      fc.property(ends, fc.constantFrom(...types), fc.boolean(), fc.boolean(), ([a, b], type, symmetric, powerOfTwo) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        const { scale, zeroPoint, ...covered } = activationParameters({ low, high }, { type, symmetric, powerOfTwo });
        const codes = activationCodes[type];
        expect(zeroPoint).toBeGreaterThanOrEqual(codes.min);
        expect(zeroPoint).toBeLessThanOrEqual(codes.max);
        expect(Number.isInteger(zeroPoint)).toBe(true);
        // Half a step, and what a float32 scale is off by over all codes.
        const slack = scale * 0.5001 + 2 ** -23 * (high - low);
        if (high - low > 1e-30) {
          expect(covered.low).toBeLessThanOrEqual(Math.min(low, 0) + slack);
          expect(covered.high).toBeGreaterThanOrEqual(Math.max(high, 0) - slack);
        }
        if (powerOfTwo) expect(Number.isInteger(Math.log2(scale))).toBe(true);
      }),
    );
  });

  it('put the zero point of what is never negative at the lowest code, so that Relu stays redundant', () => {
    for (const type of types) {
      for (const symmetric of [false, true]) {
        expect(activationParameters({ low: 0, high: 3 }, { type, symmetric, powerOfTwo: false }).zeroPoint).toBe(activationCodes[type].min);
      }
    }
  });

  it('refuse a zero point that is no code of the type', () => {
    const fixed = { scale: 0.1, zeroPoint: 256 };
    expect(() => activationParameters({ low: 0, high: 1 }, { type: 'uint8', symmetric: false, powerOfTwo: false, fixed })).toThrow(/256/);
  });
});
