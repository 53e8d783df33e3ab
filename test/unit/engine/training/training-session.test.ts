/** Steps are the same steps however they are divided among runs of the runtime. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import type { ExecutionSession } from '../../../../services/engine/runtime/execution-session.js';
import { fineTune } from '../../../../services/engine/training/index.js';
import { objectiveOf } from '../../../../services/engine/training/objective.js';
import { RunLength } from '../../../../services/engine/training/run-length.js';
import { trainableModel } from '../../../../services/engine/training/trainable-model.js';
import { trainingGraph } from '../../../../services/engine/training/training-graph.js';
import { type StepRequest, TrainingSession } from '../../../../services/engine/training/training-session.js';
import { classifier } from '../../../support/build-model.js';
import { contextFor, ModelBuilder, noise, removeScratch, runtime, scratch } from '../quantization/method-fixtures.js';
import { blobs, learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

const BATCH = 6;
const STEPS = 7;

/** Everything that a session carries: trained weights, a frozen one, running statistics. */
function normalized(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 2, 5, 5]);
  const conv = builder.node('Conv', [x, builder.constant('w', noise([4, 2, 3, 3], 1))]);
  const filled = (value: number) => float32Tensor([4], new Float32Array(4).fill(value));
  const statistics = [builder.constant('mean', filled(0)), builder.constant('variance', filled(1))];
  const affine = [builder.constant('scale', filled(1)), builder.constant('shift', filled(0))];
  const normal = builder.node('BatchNormalization', [conv, ...affine, ...statistics], { momentum: attributeOf.float(0.8) });
  const mean = builder.node('ReduceMean', [builder.node('Relu', [normal])], {
    axes: attributeOf.ints([2, 3]),
    keepdims: attributeOf.int(0),
  });
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([4, 3], 2))]), ['n', 3]).model;
}

const input = (step: number) => noise([BATCH, 2, 5, 5], 100 + step);

async function openSession(): Promise<{ session: TrainingSession; targets: string }> {
  const feeds = new Map([['x', input(0)]]);
  const trainable = await trainableModel({ model: normalized(), feeds, context: contextFor('measured'), batchStatistics: true });
  const { objective, inputs } = objectiveOf([{ kind: 'cross-entropy' }]);
  const updates = { optimizer: { name: 'adamw' }, clipNorm: 1 } as const;
  const graph = await trainingGraph({ trainable, feeds, objective, isTrained: ({ name }) => name !== 'scale', updates, runtime });
  return { session: await TrainingSession.open(runtime, graph), targets: inputs.targets?.name ?? '' };
}

function requests(targets: string): StepRequest[] {
  return Array.from({ length: STEPS }, (_, step) => {
    const shares = Float32Array.from({ length: 3 * BATCH }, (_, at) => (at % 3 === (step + Math.floor(at / 3)) % 3 ? 1 : 0));
    return {
      feeds: new Map([
        ['x', input(step)],
        [targets, float32Tensor([BATCH, 3], shares)],
      ]),
      learningRate: 0.1 / (1 + step),
    };
  });
}

/** All that can be seen of a training in runs of these lengths. */
async function trained(lengths: readonly number[]) {
  const { session, targets } = await openSession();
  const steps = requests(targets);
  const found: { loss: number; output: number[] }[] = [];
  for (const length of lengths) {
    const first = found.length;
    const results = await session.run(first + 1, steps.slice(first, first + length));
    found.push(...results.map(({ loss, output }) => ({ loss, output: [...float32Values(output)] })));
  }
  const arrays = [...session.arrays()].map(([name, values]) => [name, [...values]] as const);
  await session.close();
  return { found, arrays };
}

describe('TrainingSession.run', () => {
  test('several steps in one run are bit for bit the single steps: losses, outputs, weights, moments, running statistics', async () => {
    const single = await trained(Array.from({ length: STEPS }, () => 1));
    expect(single.found).toHaveLength(STEPS);
    expect(new Set(single.found.map(({ loss }) => loss)).size).toBe(STEPS);
    expect(single.arrays.map(([name]) => name)).toEqual(
      expect.arrayContaining(['parameter/w', 'mean/w', 'square/head', 'statistics/mean', 'statistics/variance']),
    );
    expect(await trained([STEPS])).toEqual(single);
    expect(await trained([3, 4])).toEqual(single);
  });

  test('arrays that were taken between two runs are where another session goes on', async () => {
    const whole = await trained([STEPS]);
    const { session, targets } = await openSession();
    await session.run(1, requests(targets).slice(0, 3));
    const kept = new Map([...session.arrays()].map(([name, values]) => [name, values.slice()]));
    await session.close();
    const { session: resumed } = await openSession();
    resumed.restore(kept);
    await resumed.run(4, requests(targets).slice(3));
    expect([...resumed.arrays()].map(([name, values]) => [name, [...values]])).toEqual(whole.arrays);
    await resumed.close();
  });
});

describe('RunLength', () => {
  const stepsAfter = (ms: number, bytes: number): number => {
    const length = new RunLength();
    expect(length.steps).toBe(1);
    length.took(ms, 1);
    length.weighed(bytes);
    return length.steps;
  };

  test('short steps of small batches share a run; long ones and large batches have their own', () => {
    expect(stepsAfter(0.5, 1000)).toBe(16);
    expect(stepsAfter(10, 1000)).toBe(5);
    expect(stepsAfter(80, 1000)).toBe(1);
    expect(stepsAfter(0.5, 2 ** 21)).toBe(4);
    expect(stepsAfter(0.5, 2 ** 26)).toBe(1);
  });
});

/** A context whose training session tells how many steps each of its runs took. */
function watched(source: ReturnType<typeof sourceOf>, more: Partial<MethodContext>, onRun: (steps: number) => void): MethodContext {
  const context = learningContext(source, more);
  return {
    ...context,
    runtime: {
      ...context.runtime,
      async open(model, options): Promise<ExecutionSession> {
        const session = await context.runtime.open(model, options);
        if (options?.config?.['session.use_deterministic_compute'] !== '1') return session;
        return {
          ...session,
          run(feeds, fetches) {
            onRun(feeds.get('x')?.dims[0] ?? 0);
            return session.run(feeds, fetches);
          },
        };
      },
    },
  };
}

describe('fine-tune in runs of several steps', () => {
  const source = sourceOf(blobs({ count: 256, features: 16, classes: 10 }));
  const options = { epochs: 4, batch_size: 8 } as const;
  const weights = (model: Model) => [...model.graph.initializers].map(([{ name }, tensor]) => [name, [...float32Values(tensor)]]);

  test('a cancelled training takes no further run, and one that resumes ends at the same bits', async () => {
    const whole = classifier();
    const lengths: number[] = [];
    const plain = await fineTune(
      whole,
      options,
      watched(source, {}, (steps) => lengths.push(steps)),
    );
    expect(lengths.reduce((sum, each) => sum + each, 0)).toBe(128);
    expect(lengths.length).toBeLessThan(128);

    const checkpoints = await mkdtemp(join(scratch, 'runs-'));
    const abort = new AbortController();
    let taken = 0;
    const interrupted = watched(source, { checkpoints, checkpointEveryMs: 0, signal: abort.signal }, (steps) => {
      if (abort.signal.aborted) throw new Error('a run after the cancellation');
      taken += steps;
      if (taken > 40) abort.abort();
    });
    await expect(fineTune(classifier(), options, interrupted)).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    const resumed = classifier();
    const outcome = await fineTune(resumed, options, learningContext(source, { checkpoints, checkpointEveryMs: 0 }));
    expect(outcome.training?.resumed_at).toBe(taken);
    expect(weights(resumed)).toEqual(weights(whole));
    expect(outcome.training?.curve).toEqual(plain.training?.curve);
  });
});
