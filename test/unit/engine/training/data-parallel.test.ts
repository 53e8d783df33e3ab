/** A batch divided among threads takes the same steps as the whole on one, and only where its loss can be divided. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, int64Tensor, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import type { Runtime } from '../../../../services/engine/runtime/execution-session.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { batchParts, partOf } from '../../../../services/engine/training/batch-parts.js';
import { DataParallelSession } from '../../../../services/engine/training/data-parallel-session.js';
import { GradientSession } from '../../../../services/engine/training/gradient-session.js';
import { distill, fineTune } from '../../../../services/engine/training/index.js';
import { hintKinds, isMeanOfSamples, type LossTerm } from '../../../../services/engine/training/loss-terms.js';
import { objectiveOf } from '../../../../services/engine/training/objective.js';
import type { UpdateOptions } from '../../../../services/engine/training/optimizer.js';
import { trainableModel } from '../../../../services/engine/training/trainable-model.js';
import { type TrainingGraph, trainingGraph } from '../../../../services/engine/training/training-graph.js';
import { type StepRequest, type StepTaker, TrainingSession } from '../../../../services/engine/training/training-session.js';
import { contextFor, ModelBuilder, noise, removeScratch, runtime, scratch } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

const BATCH = 12;
const STEPS = 6;
const WIDTH = 4;

/** [n, 4, 4, 4] to values of the same sizes, by way of another one. */
function convolutions(seed: number): { model: Model; inner: string } {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', WIDTH, WIDTH, WIDTH]);
  const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const weight = (name: string, at: number) => builder.constant(name, noise([WIDTH, WIDTH, 3, 3], seed + at));
  const inner = builder.node('Tanh', [builder.node('Conv', [x, weight('first', 0)], pads)]);
  const vector = (name: string, at: number) => builder.constant(name, noise([WIDTH, 1, 1], seed + at));
  const last = builder.node('Add', [builder.node('Conv', [inner, weight('second', 1)], pads), vector('shift', 2)]);
  const { model } = builder.output(builder.node('Mul', [builder.node('Mul', [last, vector('frozen', 3)]), vector('gain', 4)]), [
    'n',
    WIDTH,
    WIDTH,
    WIDTH,
  ]);
  return { model, inner: inner.name };
}

const sample = (rows: number, seed: number) => noise([rows, WIDTH, WIDTH, WIDTH], seed);

interface Written {
  readonly graph: TrainingGraph;
  /** Of the whole batch, by name. */
  readonly feeds: ReadonlyMap<string, Tensor>;
}

async function written(term: LossTerm, rows: number, updates?: UpdateOptions): Promise<Written> {
  const { model, inner } = convolutions(1);
  const feeds = new Map([['x', sample(rows, 5)]]);
  const trainable = await trainableModel({ model, feeds, context: contextFor('measured'), batchStatistics: true });
  const dims = [rows, WIDTH, WIDTH, WIDTH];
  const teacher = {
    outputs: ['taught'],
    shapes: new Map([
      ['taught', dims],
      [inner, dims],
    ] as const),
  };
  const { objective, inputs } = objectiveOf([term], { teacher });
  const isTrained = ({ name }: { name: string }): boolean => name !== 'frozen';
  const graph = await trainingGraph({ trainable, feeds, objective, isTrained, runtime, ...(updates ? { updates } : {}) });
  const shares = (seed: number, size: readonly number[]) =>
    float32Tensor(
      size,
      Float32Array.from(float32Values(noise(size, seed)), (value) => (value + 1) / 2),
    );
  const others = [...(inputs.targets ? [inputs.targets.name] : []), ...inputs.teacher.values()];
  return { graph, feeds: new Map([...feeds, ...others.map((name, at) => [name, shares(20 + at, dims)] as const)]) };
}

function termOf(kind: LossTerm['kind']): LossTerm {
  const { inner } = convolutions(1);
  const hint = hintKinds.find((each) => each === kind);
  if (hint) return { kind: hint, student: inner, teacher: inner };
  return (kind === 'quantile' ? { kind, quantiles: [0.3] } : { kind }) as LossTerm;
}

async function gradientsOf({ graph }: Written, feeds: ReadonlyMap<string, Tensor>): Promise<number[]> {
  const session = await GradientSession.open(runtime, graph);
  const { loss, gradients } = await session.run(feeds);
  const found = [loss, ...[...gradients.values()].flatMap((each) => [...each])];
  await session.close();
  return found;
}

const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

describe('isMeanOfSamples', () => {
  test.each(Object.entries(isMeanOfSamples) as [LossTerm['kind'], boolean][])(
    'loss and gradients of "%s" are the means of those of two halves: %s',
    async (kind, isMean) => {
      const rows = 4;
      const whole = await written(termOf(kind), rows);
      const half = await written(termOf(kind), rows / 2);
      const found = await gradientsOf(whole, whole.feeds);
      const halves = [await gradientsOf(half, partOf(whole.feeds, 0, 2)), await gradientsOf(half, partOf(whole.feeds, 1, 2))];
      const off = largest(found.map((value, at) => value - ((halves[0]?.[at] ?? 0) + (halves[1]?.[at] ?? 0)) / 2)) / largest(found);
      if (isMean) expect(off).toBeLessThan(1e-5);
      else expect(off).toBeGreaterThan(1e-4);
    },
  );
});

const updates: UpdateOptions = { optimizer: { name: 'adamw' }, clipNorm: 1 };

async function whole(): Promise<{ session: StepTaker; steps: StepRequest[] }> {
  const { graph, feeds } = await written({ kind: 'mse' }, BATCH, updates);
  return { session: await TrainingSession.open(runtime, graph), steps: requests(feeds) };
}

async function divided(parts: number): Promise<StepTaker> {
  const { graph } = await written({ kind: 'mse' }, BATCH / parts);
  return DataParallelSession.open(runtime, graph, { parts, options: updates });
}

function requests(feeds: ReadonlyMap<string, Tensor>): StepRequest[] {
  return Array.from({ length: STEPS }, (_, step) => ({
    feeds: new Map([...feeds, ['x', sample(BATCH, 50 + step)] as const]),
    learningRate: 0.05 / (1 + step),
  }));
}

const copyOf = (session: StepTaker) => new Map([...session.arrays()].map(([name, values]) => [name, values.slice()]));

describe('DataParallelSession', () => {
  test.each([1, 2, 3])('in %i parts takes the steps of the whole batch: losses, outputs, weights and moments', async (parts) => {
    const { session: one, steps } = await whole();
    const several = await divided(parts);
    expect([...several.arrays().keys()].sort()).toEqual([...one.arrays().keys()].sort());
    for (const [at, step] of steps.entries()) {
      const [expected] = await one.run(at + 1, [step]);
      const [found] = await several.run(at + 1, [step]);
      expect(found?.loss).toBeCloseTo(expected?.loss ?? Number.NaN, 5);
      expect(found?.output.dims).toEqual(expected?.output.dims);
      const outputs = [found, expected].map((each) => [...float32Values(each?.output as Tensor)]);
      expect(largest((outputs[0] ?? []).map((value, index) => value - (outputs[1]?.[index] ?? 0)))).toBeLessThan(1e-4);
    }
    for (const [name, values] of one.arrays()) {
      const other = several.arrays().get(name) ?? [];
      expect(largest([...values].map((value, at) => value - (other[at] ?? Number.NaN)))).toBeLessThan(1e-4);
    }
    expect(largest([...(several.parameters().get('first') ?? [])])).toBeGreaterThan(0);
    await one.close();
    await several.close();
  });

  test('arrays taken between two steps are where another session goes on, bit for bit', async () => {
    const { session: unused, steps } = await whole();
    await unused.close();
    const first = await divided(2);
    await first.run(1, steps.slice(0, 2));
    const kept = copyOf(first);
    await first.run(3, steps.slice(2));
    const resumed = await divided(2);
    resumed.restore(kept);
    await resumed.run(3, steps.slice(2));
    expect(copyOf(resumed)).toEqual(copyOf(first));
    await first.close();
    await resumed.close();
  });

  test('what cannot be opened leaves no thread behind that would keep the process', async () => {
    const { graph } = await written({ kind: 'mse' }, BATCH / 2);
    const opened: string[] = [];
    const closed: string[] = [];
    const failing: Runtime = {
      ...runtime,
      async openOnThread(model, options) {
        const session = await runtime.openOnThread(model, options);
        opened.push('thread');
        return { ...session, close: () => session.close().then(() => void closed.push('thread')) };
      },
      open: () => Promise.reject(new Error('no room')),
    };
    await expect(DataParallelSession.open(failing, graph, { parts: 2, options: updates })).rejects.toThrow('no room');
    expect([opened, closed]).toEqual([['thread'], ['thread']]);
  });
});

/** A graph as it looks to the choice of parts. */
function graphOf({ nodes, valueBytes }: { nodes: number; valueBytes: number }): TrainingGraph {
  return {
    ...{ model: { graph: { nodes: { length: nodes } } }, valueBytes, parameters: [], statistics: [], inputs: new Map() },
  } as unknown as TrainingGraph;
}

describe('batchParts', () => {
  const large = graphOf({ nodes: 3000, valueBytes: 2 ** 24 });
  const work = { graph: large, feeds: new Map([['x', sample(64, 1)]]), losses: [{ kind: 'mse' as const }], threads: 2 };

  test('divides the batch evenly among no more than the threads, and leaves each some rows', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 130 }), fc.integer({ min: 1, max: 9 }), (rows, threads) => {
        const parts = batchParts({ ...work, feeds: new Map([['x', sample(rows, 1)]]), threads });
        expect(rows % parts).toBe(0);
        expect(parts).toBeLessThanOrEqual(threads);
        if (parts > 1) expect(rows / parts).toBeGreaterThanOrEqual(16);
      }),
    );
    expect(batchParts(work)).toBe(2);
  });

  test('leaves a batch whole whose samples do not stand alone, and work that is too small or takes much memory', () => {
    const statistics = [{}] as unknown as TrainingGraph['statistics'];
    expect(batchParts({ ...work, graph: { ...large, statistics } })).toBe(1);
    expect(batchParts({ ...work, losses: [{ kind: 'mse' }, { kind: 'dist' }] })).toBe(1);
    expect(batchParts({ ...work, feeds: new Map([...work.feeds, ['state', sample(1, 1)]]) })).toBe(1);
    expect(batchParts({ ...work, graph: { ...large, inputs: new Map([['share', []]]) } })).toBe(1);
    expect(batchParts({ ...work, graph: graphOf({ nodes: 50, valueBytes: 2 ** 24 }) })).toBe(1);
    expect(batchParts({ ...work, graph: graphOf({ nodes: 3000, valueBytes: 2 ** 16 }) })).toBe(1);
    expect(batchParts({ ...work, graph: graphOf({ nodes: 3000, valueBytes: 2 ** 29 }) })).toBe(1);
    const parameters = [{ values: { byteLength: 2 ** 25 } }] as unknown as TrainingGraph['parameters'];
    expect(batchParts({ ...work, graph: { ...large, parameters } })).toBe(1);
  });
});

describe('training of a long recurrence', () => {
  const [STEPS_OF_TIME, FEATURES, HIDDEN, SAMPLES, BATCH_SIZE] = [40, 3, 128, 128, 64];

  function recurrent(batch: string | number = 'n'): Model {
    const builder = new ModelBuilder();
    const x = builder.input('x', [batch, STEPS_OF_TIME, FEATURES]);
    const weight = (name: string, dims: number[], seed: number) =>
      builder.constant(
        name,
        float32Tensor(
          dims,
          Float32Array.from(float32Values(noise(dims, seed)), (value) => value / 4),
        ),
      );
    const inTime = builder.node('Transpose', [x], { perm: attributeOf.ints([1, 0, 2]) });
    const weights = [weight('w', [1, 4 * HIDDEN, FEATURES], 1), weight('r', [1, 4 * HIDDEN, HIDDEN], 2), weight('b', [1, 8 * HIDDEN], 3)];
    const all = builder.node('LSTM', [inTime, ...weights], { hidden_size: attributeOf.int(HIDDEN) });
    const last = builder.node('Gather', [all, builder.constant('end', int64Tensor([], [-1]))], { axis: attributeOf.int(0) });
    const flat = builder.node('Reshape', [last, builder.constant('rows', int64Tensor([2], [-1, HIDDEN]))]);
    return builder.output(builder.node('Gemm', [flat, weight('head', [HIDDEN, 2], 4)]), [batch, 2]).model;
  }

  const float32sOf = ({ graph }: Model): number[] =>
    [...graph.initializers.values()].flatMap((tensor) => (tensor.dataType === 'float32' ? [...float32Values(tensor)] : []));

  async function trained(threads: number, teacher?: Model) {
    const on = createOrtRuntime({ scratch, threads });
    let beside = 0;
    const watched: Runtime = { ...on, openOnThread: (...request) => on.openOnThread(...request).finally(() => (beside += 1)) };
    const dims = [STEPS_OF_TIME, FEATURES];
    const values = float32Values(noise([SAMPLES, ...dims], 9));
    const source = sourceOf({ input: 'x', dims, values, targets: { dims: [2], values: float32Values(noise([SAMPLES, 2], 10)) } });
    const model = recurrent();
    const options = {
      epochs: 2,
      batch_size: BATCH_SIZE,
      /** Plain steps: those of Adam enlarge the last digits of gradients that are nearly zero. */
      optimizer: { name: 'sgd' },
      learning_rate: 0.1,
      losses: [{ kind: teacher ? 'teacher-mae' : 'mse' }],
    } as const;
    const context = learningContext(source, { runtime: watched, ...(teacher ? { teacher } : {}) });
    const { training } = await (teacher ? distill : fineTune)(model, { ...options }, context);
    return { beside, weights: float32sOf(model), curve: training?.curve ?? [] };
  }

  test('runs on two threads where there are two, and learns the same', async () => {
    const [one, two] = [await trained(1), await trained(2)];
    expect([one.beside, two.beside]).toEqual([0, 1]);
    expect(two.curve.length).toBeGreaterThan(1);
    for (const [at, { loss }] of two.curve.entries()) expect(loss).toBeCloseTo(one.curve[at]?.loss ?? Number.NaN, 4);
    const apart = (a: readonly number[], b: readonly number[]) => largest(a.map((value, at) => value - (b[at] ?? Number.NaN)));
    expect(apart(two.weights, one.weights)).toBeLessThan(1e-5);
    expect(apart(two.weights, float32sOf(recurrent()))).toBeGreaterThan(1e-3);
  });

  test('follows a teacher on two threads, and on one where the teacher takes no other batch', async () => {
    expect((await trained(2, recurrent())).beside).toBe(1);
    const { beside, curve } = await trained(2, recurrent(BATCH_SIZE));
    expect([beside, curve.length > 1]).toEqual([0, true]);
  });
});
