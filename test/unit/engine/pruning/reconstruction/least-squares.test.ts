/** The solution of the normal equations, against gradients and errors computed from the rows themselves. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../../services/engine/ir/index.js';
import type { FitSums } from '../../../../../services/engine/normal-equations/fit-sums.js';
import { errorAfter, NormalEquations, type WeightChange } from '../../../../../services/engine/normal-equations/least-squares.js';
import { chooseRidge, meanShift } from '../../../../../services/engine/normal-equations/ridge-choice.js';
import { noise } from '../../quantization/method-fixtures.js';

interface Rows {
  readonly groups: number;
  readonly depth: number;
  readonly outputs: number;
  readonly rows: number;
  /** [groups, rows, depth] and [groups, rows, outputs]. */
  readonly inputs: Float64Array;
  readonly errors: Float64Array;
}

const shape = fc.record({
  groups: fc.integer({ min: 1, max: 3 }),
  depth: fc.integer({ min: 1, max: 5 }),
  outputs: fc.integer({ min: 1, max: 4 }),
  rows: fc.integer({ min: 20, max: 60 }),
  seed: fc.nat(1000),
});

function randomRows({ seed, ...size }: Omit<Rows, 'inputs' | 'errors'> & { seed: number }): Rows {
  const values = (last: number, from: number) =>
    Float64Array.from(float32Values(noise([size.groups, size.rows, last], from)), (value) => value + 0.5);
  return { ...size, inputs: values(size.depth, seed), errors: values(size.outputs, seed + 1) };
}

/** Every row visited: group, inputs, errors. */
function eachRow({ groups, rows, depth, outputs, inputs, errors }: Rows, visit: (group: number, x: Float64Array, e: Float64Array) => void) {
  for (let group = 0; group < groups; group += 1) {
    for (let row = 0; row < rows; row += 1) {
      const at = group * rows + row;
      visit(group, inputs.subarray(at * depth, (at + 1) * depth), errors.subarray(at * outputs, (at + 1) * outputs));
    }
  }
}

function sumsOf(data: Rows): FitSums {
  const { groups, depth, outputs, rows } = data;
  const sums = {
    ...{ groups, depth, outputs, rows },
    gram: new Float64Array(groups * depth ** 2),
    inputs: new Float64Array(groups * depth),
    cross: new Float64Array(groups * depth * outputs),
    errors: new Float64Array(groups * outputs),
    squares: new Float64Array(groups * outputs),
  };
  const add = (to: Float64Array, at: number, value: number): void => {
    to[at] = (to[at] ?? 0) + value;
  };
  eachRow(data, (group, x, e) => {
    for (const [i, xi] of x.entries()) {
      add(sums.inputs, group * depth + i, xi);
      for (const [j, xj] of x.entries()) add(sums.gram, (group * depth + i) * depth + j, xi * xj);
      for (const [o, eo] of e.entries()) add(sums.cross, (group * depth + i) * outputs + o, xi * eo);
    }
    for (const [o, eo] of e.entries()) {
      add(sums.errors, group * outputs + o, eo);
      add(sums.squares, group * outputs + o, eo ** 2);
    }
  });
  return sums;
}

/** e - D^T x - b of one row. */
function residual(data: Rows, change: WeightChange, group: number, x: Float64Array, e: Float64Array): Float64Array {
  const { depth, outputs } = data;
  return e.map((value, o) =>
    x.reduce(
      (rest, xk, k) => rest - xk * (change.weights[(group * depth + k) * outputs + o] ?? 0),
      value - (change.bias[group * outputs + o] ?? 0),
    ),
  );
}

function fitted(sums: FitSums, ridge: number, hasBias: boolean): WeightChange {
  const fit = new NormalEquations(sums, hasBias).fit(ridge);
  if (!fit) throw new Error('the sums are not finite');
  return fit.solve(sums);
}

/** The same sums with the rows in place of their products. */
function byRows(data: Rows): FitSums {
  const { groups, rows, depth, inputs } = data;
  const values = Float32Array.from({ length: groups * depth * rows }, (_, at) => {
    const [line, row] = [Math.floor(at / rows), at % rows];
    return inputs[(Math.floor(line / depth) * rows + row) * depth + (line % depth)] ?? 0;
  });
  return { ...sumsOf(data), gram: new Float64Array(), blocks: [{ values, count: rows }] };
}

describe('NormalEquations', () => {
  it('gives from rows that are fewer than inputs what it gives from their products', () => {
    const few = fc.record({
      groups: fc.integer({ min: 1, max: 2 }),
      depth: fc.integer({ min: 8, max: 12 }),
      outputs: fc.integer({ min: 1, max: 3 }),
      rows: fc.integer({ min: 3, max: 7 }),
      seed: fc.nat(1000),
    });
    fc.assert(
      fc.property(few, fc.boolean(), fc.constantFrom(1e-3, 0.1), (size, hasBias, ridge) => {
        const random = randomRows(size);
        const data = { ...random, inputs: random.inputs.map(Math.fround) };
        const [expected, found] = [fitted(sumsOf(data), ridge, hasBias), fitted(byRows(data), ridge, hasBias)];
        for (const [at, value] of expected.weights.entries()) expect(found.weights[at]).toBeCloseTo(value, 5);
        for (const [at, value] of expected.bias.entries()) expect(found.bias[at]).toBeCloseTo(value, 5);
        expect(errorAfter(byRows(data), expected)).toBeCloseTo(errorAfter(sumsOf(data), expected), 5);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['products', sumsOf],
    ['rows', byRows],
  ] as const)('has no solution when %s are not finite', (_, sums) => {
    const data = randomRows({ groups: 1, depth: 4, outputs: 2, rows: 20, seed: 1 });
    data.inputs[5] = Number.NaN;
    expect(new NormalEquations(sums(data), true).fit(1e-4)).toBeNull();
  });
});

describe('RidgeFit', () => {
  it('solves the regularized problem: the gradient of |E - X D - b|^2 / n + r |D|^2 is zero in D, and in b where there is one', () => {
    fc.assert(
      fc.property(shape, fc.boolean(), fc.constantFrom(1e-4, 0.1), (size, hasBias, ridge) => {
        const data = randomRows(size);
        const sums = sumsOf(data);
        const change = fitted(sums, ridge, hasBias);
        const { groups, depth, outputs, rows } = data;
        const gradient = new Float64Array(groups * depth * outputs);
        const shift = new Float64Array(groups * outputs);
        eachRow(data, (group, x, e) => {
          for (const [o, rest] of residual(data, change, group, x, e).entries()) {
            shift[group * outputs + o] = (shift[group * outputs + o] ?? 0) + rest / rows;
            for (const [k, xk] of x.entries()) {
              const at = (group * depth + k) * outputs + o;
              gradient[at] = (gradient[at] ?? 0) + (xk * rest) / rows;
            }
          }
        });
        for (let group = 0; group < groups; group += 1) {
          let diagonal = 0;
          for (let k = 0; k < depth; k += 1) {
            const mean = hasBias ? (sums.inputs[group * depth + k] ?? 0) / rows : 0;
            diagonal += (sums.gram[(group * depth + k) * depth + k] ?? 0) / rows - mean ** 2;
          }
          for (let at = group * depth * outputs; at < (group + 1) * depth * outputs; at += 1)
            expect(gradient[at]).toBeCloseTo((ridge * diagonal * (change.weights[at] ?? 0)) / depth, 8);
        }
        for (const value of hasBias ? shift : change.bias) expect(value).toBeCloseTo(0, 9);
      }),
      { numRuns: 60 },
    );
  });

  it('says what error is left', () => {
    fc.assert(
      fc.property(shape, (size) => {
        const data = randomRows(size);
        const sums = sumsOf(data);
        const change = fitted(sums, 1e-4, true);
        let error = 0;
        eachRow(data, (group, x, e) => {
          for (const rest of residual(data, change, group, x, e)) error += rest ** 2;
        });
        expect(errorAfter(sums, change)).toBeCloseTo(error, 7);
        expect(error).toBeLessThanOrEqual(errorAfter(sums, meanShift(sums, true)) + 1e-9);
      }),
      { numRuns: 30 },
    );
  });
});

describe('chooseRidge', () => {
  const size = { groups: 1, depth: 4, outputs: 2, rows: 400 };

  /** The errors are `share` times a linear function of the inputs, the rest is chance. */
  function split(share: number) {
    const make = (seed: number, rows: number): Rows => {
      const data = randomRows({ ...size, rows, seed });
      const errors = data.errors.map(
        (value, at) => (1 - share) * (value - 0.5) + share * (data.inputs[Math.floor(at / 2) * 4 + (at % 2)] ?? 0),
      );
      return { ...data, errors };
    };
    const [fitted, heldOut] = [make(1, size.rows), make(2, 100)];
    const all = {
      ...fitted,
      rows: 500,
      inputs: Float64Array.from([...fitted.inputs, ...heldOut.inputs]),
      errors: Float64Array.from([...fitted.errors, ...heldOut.errors]),
    };
    return { all: sumsOf(all), heldOut: sumsOf(heldOut) };
  }

  it('takes the smallest when the inputs explain the error', () => {
    expect(chooseRidge(split(1), true)).toBe(1e-4);
  });

  it('takes none when what the weights could learn is chance: the bias alone moves', () => {
    expect(chooseRidge(split(0), true)).toBeNull();
  });

  it('takes the smallest when nothing was held out', () => {
    const { all } = split(0);
    expect(chooseRidge({ all, heldOut: { ...all, rows: 0 } }, true)).toBe(1e-4);
  });
});
