/** AWQ against its definition, computed again in float64 over whole matrices. */
import { afterAll, describe, expect, test } from 'vitest';
import { float32Values } from '../../../../../services/engine/ir/index.js';
import { searchScales } from '../../../../../services/engine/quantization/weight-only/activation-aware-scaling.js';
import type { BlockScheme, WeightRows } from '../../../../../services/engine/quantization/weight-only/blocked-weights.js';
import { outputClipSearch } from '../../../../../services/engine/quantization/weight-only/output-clip-search.js';
import { OutputErrors } from '../../../../../services/engine/quantization/weight-only/output-error.js';
import { noise, removeScratch, runtime } from '../method-fixtures.js';
import { randomGram } from '../random-gram.js';

afterAll(removeScratch);

const scheme: BlockScheme = { bits: 4, blockSize: 16, symmetric: false };

function rowsOf(channels: number, depth: number, seed: number): WeightRows {
  return { values: float32Values(noise([channels, depth], seed)), channels, depth };
}

/** Second moments of inputs of which every eighth is twenty times as large. */
function momentsOf(depth: number, seed: number): Float64Array {
  const size = (k: number): number => (k % 8 === 0 ? 20 : 1);
  return randomGram(depth, 3 * depth, { seed, ridge: 0 }).map((value, at) => value * size(Math.floor(at / depth)) * size(at % depth));
}

const even = (value: number): number => {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
};

/** Codes and values of one block whose range is drawn in to `share` of it. */
function block(values: readonly number[], share: number): { codes: number[]; values: number[] } {
  const [low, high] = [share * Math.min(0, ...values), share * Math.max(0, ...values)];
  const scale = Math.fround((high - low) / 15) || 1;
  const zeroPoint = Math.max(0, Math.min(15, even(-low / scale)));
  const codes = values.map((value) => Math.max(0, Math.min(15, even(value / scale) + zeroPoint)));
  return { codes, values: codes.map((code) => scale * (code - zeroPoint)) };
}

const quadratic = (moments: Float64Array, depth: number, d: readonly number[], start = 0): number =>
  d.reduce((sum, a, i) => sum + a * d.reduce((inner, b, j) => inner + (moments[(start + i) * depth + start + j] ?? 0) * b, 0), 0);

const part = ({ values, depth }: WeightRows, channel: number, from: number, to: number): number[] =>
  Array.from(values.subarray(channel * depth + from, channel * depth + to));

/** E ||Q(W diag s) diag(s)^-1 x - W x||^2, Q to the nearest code of the whole range of each block. */
function scaledError(rows: WeightRows, moments: Float64Array, factors: readonly number[]): number {
  let sum = 0;
  for (let channel = 0; channel < rows.channels; channel++) {
    const difference: number[] = [];
    for (let start = 0; start < rows.depth; start += scheme.blockSize) {
      const own = part(rows, channel, start, start + scheme.blockSize);
      const rounded = block(
        own.map((value, k) => Math.fround(value * (factors[start + k] ?? 1))),
        1,
      ).values;
      difference.push(...own.map((value, k) => value - (rounded[k] ?? 0) / (factors[start + k] ?? 1)));
    }
    sum += quadratic(moments, rows.depth, difference);
  }
  return sum;
}

describe('AWQ', () => {
  test.each([1, 2, 3, 4])('its factors are the best of the powers of the sizes of the inputs (matrix %i)', async (seed) => {
    const depth = 32;
    const rows = rowsOf(6, depth, seed);
    const moments = momentsOf(depth, seed + 10);
    const errors = await OutputErrors.open(runtime);
    const found = await searchScales({ matrices: [{ rows, scheme }], depth, moments }, errors);
    await errors.close();
    const sizes = Array.from({ length: depth }, (_, k) => Math.sqrt(moments[k * depth + k] ?? 0));
    const candidates = Array.from({ length: 20 }, (_, at) => {
      const powers = sizes.map((size) => size ** (at / 20));
      const middle = Math.sqrt(Math.max(...powers) * Math.min(...powers));
      return scaledError(
        rows,
        moments,
        powers.map((power) => power / middle),
      );
    });
    const chosen = scaledError(rows, moments, [...(found?.factors ?? [])]);
    expect(chosen / Math.min(...candidates)).toBeLessThan(1 + 1e-3);
    expect(chosen).toBeLessThan(candidates[0] ?? 0);
    expect(found?.gain).toBeCloseTo(chosen / (candidates[0] ?? 1), 3);
  });

  test.each([5, 6, 7])('its codes are those of the best share of the range of each block (matrix %i)', (seed) => {
    const depth = 48;
    const rows = rowsOf(5, depth, seed);
    const moments = momentsOf(depth, seed + 10);
    const { codes } = outputClipSearch(rows, scheme, moments);
    for (let channel = 0; channel < rows.channels; channel++) {
      for (let start = 0; start < depth; start += scheme.blockSize) {
        const own = part(rows, channel, start, start + scheme.blockSize);
        const tried = Array.from({ length: 11 }, (_, k) => {
          const rounded = block(own, 1 - k / 20);
          const difference = own.map((value, at) => value - (rounded.values[at] ?? 0));
          return { codes: rounded.codes, error: quadratic(moments, depth, difference, start) };
        });
        const best = tried.reduce((a, b) => (b.error < a.error ? b : a));
        expect([...codes.subarray(channel * depth + start, channel * depth + start + scheme.blockSize)]).toEqual(best.codes);
      }
    }
  });
});
