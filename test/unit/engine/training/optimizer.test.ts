/** Optimizers against the formulas of PyTorch's documentation, computed again in float64 with whole vectors. */
import { describe, expect, test } from 'vitest';
import { createOptimizer, type OptimizerOptions, type ParameterSpec } from '../../../../services/engine/training/optimizer.js';
import { randomStream } from '../../../../services/engine/training/random-stream.js';

const STEPS = 12;
const LENGTH = 40;

function gaussian(length: number, ...place: number[]): Float32Array {
  const random = randomStream(7, ...place);
  return Float32Array.from({ length }, () => random.normal());
}

const rates = Array.from({ length: STEPS }, (_, step) => 0.02 / (1 + step));
const gradientsOf = (step: number): Float32Array => gaussian(LENGTH, 1, step);

/** The definition: how one number moves under the gradients of all steps. */
type Definition = (start: number, gradients: readonly number[]) => number;

const sgd =
  ({ momentum = 0, nesterov = false, decay = 0 }): Definition =>
  (start, gradients) => {
    let p = start;
    let buffer: number | undefined;
    for (const [t, each] of gradients.entries()) {
      const g = each + decay * p;
      buffer = buffer === undefined ? g : momentum * buffer + g;
      p -= (rates[t] ?? 0) * (nesterov ? g + momentum * buffer : buffer);
    }
    return p;
  };

const adam =
  ({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, l2 = 0, decoupled = 0 }): Definition =>
  (start, gradients) => {
    let [p, m, v] = [start, 0, 0];
    for (const [t, each] of gradients.entries()) {
      const rate = rates[t] ?? 0;
      p *= 1 - rate * decoupled;
      const g = each + l2 * p;
      m += (g - m) * (1 - beta1);
      v = beta2 * v + (1 - beta2) * g ** 2;
      const unbiasedMean = m / (1 - beta1 ** (t + 1));
      const unbiasedSquare = v / (1 - beta2 ** (t + 1));
      p -= (rate * unbiasedMean) / (Math.sqrt(unbiasedSquare) + epsilon);
    }
    return p;
  };

const lion =
  ({ beta1 = 0.9, beta2 = 0.99, decay = 0 }): Definition =>
  (start, gradients) => {
    let [p, m] = [start, 0];
    for (const [t, g] of gradients.entries()) {
      const direction = beta1 * m + (1 - beta1) * g;
      p -= (rates[t] ?? 0) * ((direction > 0 ? 1 : direction < 0 ? -1 : 0) + decay * p);
      m = beta2 * m + (1 - beta2) * g;
    }
    return p;
  };

const rules: readonly (readonly [OptimizerOptions, Definition])[] = [
  [{ name: 'sgd' }, sgd({})],
  [{ name: 'sgd', weightDecay: 0.1 }, sgd({ decay: 0.1 })],
  [{ name: 'sgd', momentum: 0.9 }, sgd({ momentum: 0.9 })],
  [{ name: 'sgd', momentum: 0.8, nesterov: true, weightDecay: 0.1 }, sgd({ momentum: 0.8, nesterov: true, decay: 0.1 })],
  [{ name: 'adam' }, adam({})],
  [{ name: 'adam', betas: [0.8, 0.95], epsilon: 1e-3, weightDecay: 0.1 }, adam({ beta1: 0.8, beta2: 0.95, epsilon: 1e-3, l2: 0.1 })],
  [{ name: 'adamw' }, adam({ decoupled: 0.01 })],
  [{ name: 'adamw', weightDecay: 0.5, betas: [0.7, 0.9] }, adam({ decoupled: 0.5, beta1: 0.7, beta2: 0.9 })],
  [{ name: 'lion' }, lion({})],
  [{ name: 'lion', weightDecay: 0.5, betas: [0.8, 0.95] }, lion({ decay: 0.5, beta1: 0.8, beta2: 0.95 })],
];

const weight: ParameterSpec = { name: 'w', length: LENGTH, decays: true };

function trained(options: OptimizerOptions, spec: ParameterSpec = weight): Float32Array {
  const optimizer = createOptimizer(options, [spec]);
  const values = gaussian(LENGTH, 0);
  for (const [step, rate] of rates.entries()) optimizer.step(new Map([['w', values]]), new Map([['w', gradientsOf(step)]]), rate);
  return values;
}

function largestDifference(values: Float32Array, expected: readonly number[]): number {
  return Math.max(...expected.map((each, at) => Math.abs((values[at] ?? Number.NaN) - each)));
}

const columns = Array.from({ length: LENGTH }, (_, at) => rates.map((_, step) => gradientsOf(step)[at] ?? 0));
const starts = Array.from(gaussian(LENGTH, 0));

describe('createOptimizer', () => {
  test.each(rules)('%o moves weights as its definition says', (options, definition) => {
    const expected = starts.map((start, at) => definition(start, columns[at] ?? []));
    expect(largestDifference(trained(options), expected)).toBeLessThan(2e-6);
    expect(largestDifference(Float32Array.from(starts), expected)).toBeGreaterThan(0.01);
  });

  test.each(['sgd', 'adam', 'adamw', 'lion'] as const)('%s: a parameter that does not decay moves as without decay', (name) => {
    const spec = { ...weight, decays: false };
    expect(trained({ name, weightDecay: 0.5 }, spec)).toEqual(trained({ name, weightDecay: 0 }));
    expect(trained({ name, weightDecay: 0.5 })).not.toEqual(trained({ name, weightDecay: 0 }));
  });

  test('the learning rate of a parameter is scaled', () => {
    const half = trained({ name: 'sgd' }, { ...weight, learningRateScale: 0.5 });
    const expected = starts.map((start, at) => start - 0.5 * (columns[at] ?? []).reduce((sum, g, t) => sum + g * (rates[t] ?? 0), 0));
    expect(largestDifference(half, expected)).toBeLessThan(1e-6);
  });

  test.each(rules)('%o restored in another optimizer goes on with the same bits', (options) => {
    const optimizer = createOptimizer(options, [weight]);
    const values = gaussian(LENGTH, 0);
    const parameters = new Map([['w', values]]);
    for (let step = 0; step < 5; step++) optimizer.step(parameters, new Map([['w', gradientsOf(step)]]), rates[step] ?? 0);
    const { arrays, counters } = optimizer.state();
    const copy = { arrays: new Map([...arrays].map(([name, each]) => [name, each.slice()])), counters: new Map(counters) };
    const resumed = createOptimizer(options, [weight]);
    resumed.restore(copy);
    for (let step = 5; step < STEPS; step++) resumed.step(parameters, new Map([['w', gradientsOf(step)]]), rates[step] ?? 0);
    expect(values).toEqual(trained(options));
  });

  test('steps of a parameter without a gradient are not counted', () => {
    const both = createOptimizer({ name: 'adam' }, [weight, { ...weight, name: 'late' }]);
    const parameters = new Map([
      ['w', gaussian(LENGTH, 0)],
      ['late', gaussian(LENGTH, 0)],
    ]);
    both.step(parameters, new Map([['w', gradientsOf(0)]]), 0.1);
    expect(parameters.get('late')).toEqual(gaussian(LENGTH, 0));
    both.step(parameters, new Map([['late', gradientsOf(0)]]), 0.1);
    expect(parameters.get('late')).toEqual(parameters.get('w'));
  });

  test.each<[string, OptimizerOptions]>([
    ['nesterov', { name: 'sgd', nesterov: true }],
    ['momentum', { name: 'sgd', momentum: 1 }],
    ['betas', { name: 'adam', betas: [0.9, 1] }],
    ['betas', { name: 'lion', betas: [-0.1, 0.9] }],
    ['epsilon', { name: 'adamw', epsilon: 0 }],
    ['weightDecay', { name: 'adamw', weightDecay: -1 }],
  ])('options with a wrong %s are refused', (_, options) => {
    expect(() => createOptimizer(options, [])).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
  });

  test('lengths and states that do not fit are refused, and nothing is half restored', () => {
    const optimizer = createOptimizer({ name: 'adam' }, [weight]);
    const step = (length: number) => () =>
      optimizer.step(new Map([['w', new Float32Array(length)]]), new Map([['w', new Float32Array(length)]]), 1);
    expect(step(LENGTH - 1)).toThrow(RangeError);
    const { arrays, counters } = createOptimizer({ name: 'adam' }, [{ ...weight, length: 3 }]).state();
    expect(() => optimizer.restore({ arrays, counters })).toThrow(RangeError);
    expect(() => optimizer.restore({ arrays: optimizer.state().arrays, counters: new Map() })).toThrow(RangeError);
    expect(() => optimizer.restore(createOptimizer({ name: 'lion' }, [weight]).state())).toThrow(RangeError);
  });
});
