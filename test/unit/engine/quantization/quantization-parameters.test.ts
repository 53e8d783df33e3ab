import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  affineParameters,
  codeRanges,
  quantizeValue,
  roundHalfToEven,
  symmetricScale,
} from '../../../../services/engine/quantization/quantization-parameters.js';

const real = fc.double({ min: -1e6, max: 1e6, noNaN: true });

describe('quantization parameters', () => {
  it('rounds halves to the even neighbour and everything else to the nearest integer', () => {
    expect([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5].map((value) => roundHalfToEven(value) + 0)).toEqual([-2, -2, 0, 0, 2, 2]);
    fc.assert(fc.property(real, (value) => Math.abs(roundHalfToEven(value) - value) <= 0.5));
  });

  it('reconstructs every value of the range within half a step (affine) and zero exactly', () => {
    fc.assert(
      fc.property(real, real, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, t) => {
        const range = { min: Math.min(a, b), max: Math.max(a, b) };
        const parameters = affineParameters(range);
        const value = Math.min(range.min, 0) + t * (Math.max(range.max, 0) - Math.min(range.min, 0));
        const code = quantizeValue(value, parameters, codeRanges.uint8);
        // The zero point is rounded too, so a value at the very end of the range may be clipped by half a step more.
        expect(Math.abs(parameters.scale * (code - parameters.zeroPoint) - value)).toBeLessThanOrEqual(parameters.scale * 1.001);
        expect(quantizeValue(0, parameters, codeRanges.uint8)).toBe(parameters.zeroPoint);
      }),
    );
  });

  it('reconstructs every value of a symmetric range within half a step', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-20, max: 1e6, noNaN: true }), fc.double({ min: -1, max: 1, noNaN: true }), (bound, t) => {
        const scale = symmetricScale(bound);
        const code = quantizeValue(t * bound, { scale, zeroPoint: 0 }, codeRanges.int8Symmetric);
        expect(Math.abs(scale * code - t * bound)).toBeLessThanOrEqual(scale * 0.5001);
      }),
    );
  });

  it('gives an empty range the scale 1, so that nothing divides by zero', () => {
    expect(symmetricScale(0)).toBe(1);
    expect(symmetricScale(1e-44)).toBe(1);
    expect(affineParameters({ min: 0, max: 0 })).toEqual({ scale: 1, zeroPoint: 0 });
  });
});
