import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canSaturate, saturatingDotProduct } from '../../../../services/engine/quantization/saturation.js';
import { quantizeWeights } from '../../../../services/engine/quantization/weight-quantization.js';

const weightCode = fc.integer({ min: -127, max: 127 });
const column = fc.array(weightCode, { minLength: 1, maxLength: 40 }).map((codes) => Int8Array.from(codes));
const floats = fc
  .array(fc.float({ min: -10, max: 10, noNaN: true }), { minLength: 1, maxLength: 64 })
  .map((values) => Float32Array.from(values));

function exactDotProduct(activations: Uint8Array, weights: Int8Array): number {
  return weights.reduce((sum, weight, k) => sum + weight * (activations[k] ?? 0), 0);
}

/** The activation codes that push each pair as far as it goes, upwards or downwards. */
function worstActivations(weights: Int8Array, sign: 1 | -1): Uint8Array {
  return Uint8Array.from(weights, (weight) => (weight * sign > 0 ? 255 : 0));
}

describe('saturating int16 pair kernel', () => {
  it('computes the exact sum for every activation when no pair can saturate', () => {
    fc.assert(
      fc.property(column, fc.uint8Array({ minLength: 40, maxLength: 40 }), (weights, activations) => {
        fc.pre(!canSaturate(weights));
        expect(saturatingDotProduct(activations, weights)).toBe(exactDotProduct(activations, weights));
      }),
    );
  });

  it('differs from the exact sum for some activation whenever a pair can saturate', () => {
    fc.assert(
      fc.property(column, (weights) => {
        const differs = ([1, -1] as const).some((sign) => {
          const activations = worstActivations(weights, sign);
          // One pair at a time, as two saturated pairs of opposite sign could cancel.
          return weights.some((_, k) => {
            const single = activations.map((code, at) => (at >> 1 === k >> 1 ? code : 0));
            return saturatingDotProduct(single, weights) !== exactDotProduct(single, weights);
          });
        });
        expect(differs).toBe(canSaturate(weights));
      }),
    );
  });

  it('saturates with two weights of 127 under activations of 255, as VPMADDUBSW does', () => {
    expect(saturatingDotProduct(Uint8Array.of(255, 255), Int8Array.of(127, 127))).toBe(32_767);
    expect(saturatingDotProduct(Uint8Array.of(255, 255), Int8Array.of(-127, -127))).toBe(-32_768);
  });

  it('never saturates with pair-safe weights, whatever the weights are', () => {
    fc.assert(
      fc.property(floats, fc.boolean(), (values, perChannel) => {
        const { codes } = quantizeWeights({ values, rows: values.length, columns: 1, reductionAxis: 0 }, { perChannel, pairSafe: true });
        expect(canSaturate(codes)).toBe(false);
        for (const sign of [1, -1] as const) {
          const activations = worstActivations(codes, sign);
          expect(saturatingDotProduct(activations, codes)).toBe(exactDotProduct(activations, codes));
        }
      }),
    );
  });
});
