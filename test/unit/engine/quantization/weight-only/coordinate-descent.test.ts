/** Coordinate descent against its definition, computed again with whole matrices, and against GPTQ, from which it starts. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { float32Values } from '../../../../../services/engine/ir/index.js';
import { quadraticForm } from '../../../../../services/engine/normal-equations/linear-algebra.js';
import { quantizeMatrix } from '../../../../../services/engine/quantization/weight-only/block-quantization.js';
import {
  type BlockedWeights,
  parametersAt,
  type WeightRows,
  widened,
} from '../../../../../services/engine/quantization/weight-only/blocked-weights.js';
import { descendBlocks } from '../../../../../services/engine/quantization/weight-only/coordinate-descent.js';
import { noise } from '../method-fixtures.js';
import { randomGram } from '../random-gram.js';

interface Problem {
  readonly rows: WeightRows;
  readonly moments: Float64Array;
  readonly gptq: BlockedWeights;
}

function problem({ channels, depth, seed, bits = 4 }: { channels: number; depth: number; seed: number; bits?: 2 | 4 | 8 }): Problem {
  const moments = randomGram(depth, 2 * depth, { seed, ridge: 0 });
  const rows = { values: float32Values(noise([channels, depth], seed + 1)), channels, depth };
  const scheme = { bits, blockSize: 16, symmetric: false };
  return { rows, moments, gptq: quantizeMatrix('gptq', { rows, scheme, hessian: moments }) };
}

function withDamping(moments: Float64Array, depth: number): Float64Array {
  const trace = Array.from({ length: depth }, (_, k) => moments[k * depth + k] ?? 0).reduce((a, b) => a + b, 0);
  return moments.map((value, at) => value + (at % (depth + 1) === 0 ? (0.01 * trace) / depth : 0));
}

/** e^T H e of each row. */
function errors({ rows }: Problem, weights: BlockedWeights, hessian: Float64Array): number[] {
  const difference = Float64Array.from(widened(weights), (value, at) => (rows.values[at] ?? 0) - value);
  return Array.from({ length: rows.channels }, (_, row) => quadraticForm(hessian, difference, rows.depth, row * rows.depth));
}

const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Every scale by its own least squares and every code by trying all of them, from the error of the whole row. */
function plainDescent(given: Problem): BlockedWeights {
  const { rows, gptq } = given;
  const hessian = withDamping(given.moments, rows.depth);
  const weights = { ...gptq, codes: Uint8Array.from(gptq.codes), scales: Float32Array.from(gptq.scales) };
  const errorOf = (row: number): number => errors(given, weights, hessian)[row] ?? 0;
  const fitScale = (row: number, block: number): void => {
    const at = row * weights.blocks + block;
    const scale = weights.scales[at] ?? 1;
    // E is a parabola of the scale: three values of it tell where it is least.
    const step = Math.abs(scale) / 4;
    const [left, middle, right] = [-step, 0, step].map((shift) => {
      weights.scales[at] = scale + shift;
      return errorOf(row);
    }) as [number, number, number];
    const bend = left - 2 * middle + right;
    weights.scales[at] = bend > 1e-12 ? scale + (step * (left - right)) / (2 * bend) : scale;
  };
  const moveCode = (row: number, k: number): boolean => {
    const at = row * rows.depth + k;
    const before = weights.codes[at];
    const tried = Array.from({ length: 2 ** weights.bits }, (_, code) => {
      weights.codes[at] = code;
      return errorOf(row);
    });
    weights.codes[at] = tried.indexOf(Math.min(...tried));
    return weights.codes[at] !== before;
  };
  for (let row = 0; row < rows.channels; row += 1) {
    for (let round = 0; round < 3; round += 1) {
      for (let block = 0; block < weights.blocks; block += 1) fitScale(row, block);
      const moved = [...Array(2 * rows.depth).keys()].filter((turn) => moveCode(row, turn % rows.depth));
      if (moved.length === 0) break;
    }
  }
  return weights;
}

describe('descendBlocks', () => {
  test.each([3, 13, 23])('the codes are those of the definition, computed again over whole rows (seed %i)', (seed) => {
    const given = problem({ channels: 3, depth: 40, seed });
    const [found, plain] = [descendBlocks(given.rows, given.gptq, given.moments), plainDescent(given)];
    expect([...found.codes]).toEqual([...plain.codes]);
    for (const [at, scale] of found.scales.entries()) expect(scale / (plain.scales[at] ?? 1)).toBeCloseTo(1, 3);
  });

  test('no row errs more than after GPTQ, and all together err clearly less', () => {
    const sizes = fc.constantFrom(7, 16, 40, 64);
    const bits = fc.constantFrom(2 as const, 4 as const, 8 as const);
    let [before, after] = [0, 0];
    fc.assert(
      fc.property(sizes, bits, fc.nat(500), (depth, width, seed) => {
        const given = problem({ channels: 4, depth, seed, bits: width });
        const hessian = withDamping(given.moments, depth);
        const [gptq, descended] = [
          errors(given, given.gptq, hessian),
          errors(given, descendBlocks(given.rows, given.gptq, given.moments), hessian),
        ];
        for (const [row, error] of descended.entries()) expect(error).toBeLessThanOrEqual((gptq[row] ?? 0) * (1 + 1e-5) + 1e-12);
        before += total(gptq);
        after += total(descended);
      }),
      { numRuns: 40 },
    );
    expect(after).toBeLessThan(0.9 * before);
  });

  test('zero points stay, codes stay in their range, and moments that are no numbers change nothing', () => {
    const given = problem({ channels: 4, depth: 48, seed: 5, bits: 2 });
    const descended = descendBlocks(given.rows, given.gptq, given.moments);
    expect(descended.zeroPoints).toEqual(given.gptq.zeroPoints);
    expect(Math.max(...descended.codes)).toBeLessThanOrEqual(3);
    expect(parametersAt(descended, 0, 0).scale).not.toBe(0);
    expect(
      descendBlocks(
        given.rows,
        given.gptq,
        given.moments.map(() => Number.NaN),
      ),
    ).toBe(given.gptq);
  });
});
