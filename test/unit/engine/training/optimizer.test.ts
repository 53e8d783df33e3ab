/** Optimizers, run by the runtime as part of a graph, against the formulas of PyTorch's documentation in float64. */
import { afterAll, describe, expect, test } from 'vitest';
import {
  float32Tensor,
  float32Values,
  Graph,
  GraphWriter,
  Model,
  NameAuthority,
  type Tensor,
  Value,
} from '../../../../services/engine/ir/index.js';
import { type OptimizerOptions, type OptimizerStep, writeOptimizerStep } from '../../../../services/engine/training/optimizer.js';
import type { ParameterRole } from '../../../../services/engine/training/parameter-roles.js';
import { randomStream } from '../../../../services/engine/training/random-stream.js';
import { removeScratch, runtime } from '../quantization/method-fixtures.js';

const STEPS = 12;
const LENGTH = 40;

afterAll(removeScratch);

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

interface Written {
  readonly model: Model;
  readonly step: OptimizerStep;
}

/** A graph of the step alone: the gradient of `w` is an input. */
function writtenStep(options: OptimizerOptions, { clipNorm, role = 'weight' }: { clipNorm?: number; role?: ParameterRole } = {}): Written {
  const graph = new Graph('step');
  const model = new Model(graph);
  model.opsetImports.set('', 18);
  const write = new GraphWriter(model, new NameAuthority(model));
  const input = (name: string, dims: readonly number[]): Value => {
    const value = new Value(name, { kind: 'tensor', dataType: 'float32', shape: dims });
    graph.inputs.push(value);
    return value;
  };
  const parameter = { name: 'w', dims: [LENGTH], role, values: gaussian(LENGTH, 0) };
  const step = writeOptimizerStep(write, {
    trained: [{ parameter, value: input('w', [LENGTH]), gradient: input('g', [LENGTH]) }],
    options: { optimizer: options, ...(clipNorm === undefined ? {} : { clipNorm }) },
    border: {
      input,
      output(value) {
        value.type = { kind: 'tensor', dataType: 'float32', shape: [LENGTH] };
        graph.outputs.push(value);
      },
    },
  });
  return { model, step };
}

async function trained(options: OptimizerOptions, more: { clipNorm?: number; role?: ParameterRole } = {}): Promise<Float32Array> {
  const { model, step } = writtenStep(options, more);
  const unread = new Set(model.graph.inputs.flatMap(({ name, isRead }) => (isRead ? [] : [name])));
  model.graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...model.graph.inputs.filter(({ isRead }) => isRead));
  const session = await runtime.open(model);
  const values = new Map<string, Tensor>(step.moving.map(({ input, dims, initial }) => [input, float32Tensor(dims, initial)]));
  for (const [at, rate] of rates.entries()) {
    const scalars = [...step.ratesAt(at + 1, rate)].map(([name, number]) => [name, float32Tensor([], [number])] as const);
    const feeds = new Map([...values, ...scalars, ['g', float32Tensor([LENGTH], gradientsOf(at))] as const]);
    const found = await session.run(new Map([...feeds].filter(([name]) => !unread.has(name))));
    for (const { input, output } of step.moving) values.set(input, found.get(output) as Tensor);
  }
  await session.close();
  return float32Values(values.get('w') as Tensor);
}

function largestDifference(values: Float32Array, expected: readonly number[]): number {
  return Math.max(...expected.map((each, at) => Math.abs((values[at] ?? Number.NaN) - each)));
}

const columns = Array.from({ length: LENGTH }, (_, at) => rates.map((_, step) => gradientsOf(step)[at] ?? 0));
const starts = Array.from(gaussian(LENGTH, 0));

describe('writeOptimizerStep', () => {
  test.each(rules)('%o moves weights as its definition says', async (options, definition) => {
    const expected = starts.map((start, at) => definition(start, columns[at] ?? []));
    expect(largestDifference(await trained(options), expected)).toBeLessThan(2e-6);
    expect(largestDifference(Float32Array.from(starts), expected)).toBeGreaterThan(0.01);
  });

  test.each(['sgd', 'adam', 'adamw', 'lion'] as const)('%s: a parameter that does not decay moves as without decay', async (name) => {
    const without = await trained({ name, weightDecay: 0 });
    expect(await trained({ name, weightDecay: 0.5 }, { role: 'bias' })).toEqual(without);
    expect(await trained({ name, weightDecay: 0.5 })).not.toEqual(without);
  });

  test('the gradients that a step uses are clipped', async () => {
    const limit = 0.5;
    const shares = rates.map((_, step) => Math.min(1, limit / Math.hypot(...gradientsOf(step))));
    const expected = starts.map((start, at) =>
      shares.reduce((p, share, step) => p - (rates[step] ?? 0) * share * (columns[at]?.[step] ?? 0), start),
    );
    expect(largestDifference(await trained({ name: 'sgd' }, { clipNorm: limit }), expected)).toBeLessThan(1e-6);
  });

  test.each<[string, OptimizerOptions]>([
    ['nesterov', { name: 'sgd', nesterov: true }],
    ['momentum', { name: 'sgd', momentum: 1 }],
    ['betas', { name: 'adam', betas: [0.9, 1] }],
    ['betas', { name: 'lion', betas: [-0.1, 0.9] }],
    ['epsilon', { name: 'adamw', epsilon: 0 }],
    ['weightDecay', { name: 'adamw', weightDecay: -1 }],
  ])('options with a wrong %s are refused', (_, options) => {
    expect(() => writtenStep(options)).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
  });
});
