/** Methods that learn, on problems whose answer is known. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, cloneModel, float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { distill, fineTune, train } from '../../../../services/engine/training/index.js';
import { Teacher } from '../../../../services/engine/training/teacher.js';
import { classifier } from '../../../support/build-model.js';
import { ModelBuilder, noise, outputsOf, removeScratch, runtime, scratch } from '../quantization/method-fixtures.js';
import { blobs, learningContext, type MadeSamples, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

function weightsOf(model: Model): Map<string, number[]> {
  return new Map([...model.graph.initializers].map(([value, tensor]) => [value.name, [...float32Values(tensor)]]));
}

async function accuracy(model: Model, { values, dims, classes = [] }: MadeSamples): Promise<number> {
  const [logits = new Float32Array()] = await outputsOf(model, { x: float32Tensor([classes.length, ...dims], values) });
  const width = logits.length / classes.length;
  const right = classes.filter((label, row) => {
    const scores = logits.subarray(row * width, (row + 1) * width);
    return scores.every((score) => score <= (scores[label] ?? 0));
  });
  return right.length / classes.length;
}

describe('train', () => {
  test('a linear layer finds the weights that made its labels', async () => {
    const random = pseudoRandom(5);
    const [inputs, outputs, count] = [4, 3, 256];
    const truth = Float32Array.from({ length: inputs * outputs }, () => random.normal());
    const shift = [0.5, -1, 2];
    const values = Float32Array.from({ length: count * inputs }, () => random.normal());
    const targets = Float32Array.from({ length: count * outputs }, (_, at) => {
      const [row, column] = [Math.floor(at / outputs), at % outputs];
      let sum = shift[column] ?? 0;
      for (let k = 0; k < inputs; k++) sum += (values[row * inputs + k] ?? 0) * (truth[k * outputs + column] ?? 0);
      return sum;
    });
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', inputs]);
    const y = builder.node('Gemm', [x, builder.constant('w', noise([inputs, outputs], 1)), builder.constant('b', noise([outputs], 2))]);
    const { model } = builder.output(y, ['n', outputs]);
    const source = sourceOf({ input: 'x', dims: [inputs], values, targets: { dims: [outputs], values: targets } });
    const options = { epochs: 40, batch_size: 32, learning_rate: 0.1, optimizer: { name: 'sgd', weight_decay: 0 } } as const;
    const { training } = await train(model, options, learningContext(source));
    expect(training?.losses).toEqual(['mse']);
    const found = weightsOf(model);
    for (const [at, value] of truth.entries()) expect(found.get('w')?.[at]).toBeCloseTo(value, 3);
    for (const [at, value] of shift.entries()) expect(found.get('b')?.[at]).toBeCloseTo(value, 3);
    expect(training?.curve.at(-1)?.loss).toBeLessThan(1e-5);
  });

  test('class labels ask for cross-entropy, and the answers become right', async () => {
    const samples = blobs({ count: 512, features: 16, classes: 10 });
    const model = classifier();
    expect(await accuracy(model, samples)).toBeLessThan(0.4);
    const { training, nodes } = await train(model, { epochs: 12, batch_size: 32, learning_rate: 0.01 }, learningContext(sourceOf(samples)));
    expect(training?.losses).toEqual(['cross-entropy']);
    expect(await accuracy(model, samples)).toBeGreaterThan(0.97);
    expect(training?.curve.at(-1)?.accuracy).toBeGreaterThan(0.9);
    expect(nodes.map(({ reason }) => reason)).toContain('trained w1, b1');
  });

  test('frozen constants stay bit for bit; the others move', async () => {
    const model = classifier();
    const before = weightsOf(model);
    const source = sourceOf(blobs({ count: 64, features: 16, classes: 10 }));
    await train(model, { epochs: 1, batch_size: 16, frozen: ['w1', 'b*'] }, learningContext(source));
    const after = weightsOf(model);
    for (const name of ['w1', 'b1', 'b2']) expect(after.get(name)).toEqual(before.get(name));
    expect(after.get('w2')).not.toEqual(before.get('w2'));
  });

  test('pairs of pictures are augmented together: the network that is right about them stays right', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 4, 6, 6]);
    const identity = float32Tensor([4, 4, 1, 1], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
    const mixed = builder.node('Conv', [x, builder.constant('w', identity)]);
    const picture = builder.node('DepthToSpace', [mixed], { blocksize: attributeOf.int(2) });
    const { model } = builder.output(picture, ['n', 1, 12, 12]);
    const inputs = noise([16, 4, 6, 6], 3);
    const [targets = new Float32Array()] = await outputsOf(model, { x: inputs });
    const samples = { input: 'x', dims: [4, 6, 6], values: float32Values(inputs), targets: { dims: [1, 12, 12], values: targets } };
    const options = { epochs: 3, batch_size: 4, optimizer: { name: 'sgd' }, augmentation: [{ name: 'crop', padding: 2 }] } as const;
    const { training } = await train(model, options, learningContext(sourceOf(samples)));
    expect(Math.max(...(training?.curve.map(({ loss }) => loss) ?? [1]))).toBeLessThan(1e-9);
  });

  /** Labels are three times the input but in a ring of one pixel, where they are nonsense. */
  test('a border of the pictures that does not count moves nothing', async () => {
    const picture = (): Model => {
      const builder = new ModelBuilder();
      const x = builder.input('x', ['n', 1, 6, 6]);
      const y = builder.node('Conv', [x, builder.constant('w', float32Tensor([1, 1, 1, 1], [1]))]);
      return builder.output(y, ['n', 1, 6, 6]).model;
    };
    const values = float32Values(noise([16, 1, 6, 6], 3));
    const isInner = (at: number): boolean => [at % 6, Math.floor((at % 36) / 6)].every((place) => place > 0 && place < 5);
    const targets = { dims: [1, 6, 6], values: values.map((value, at) => (isInner(at) ? 3 : -40) * value) };
    const context = (): MethodContext => learningContext(sourceOf({ input: 'x', dims: [1, 6, 6], values, targets }));
    const options = { epochs: 100, batch_size: 8, learning_rate: 0.2, optimizer: { name: 'sgd', weight_decay: 0 } } as const;
    const trained = picture();
    await train(trained, { ...options, losses: [{ kind: 'mse', border: 1 }] }, context());
    expect(weightsOf(trained).get('w')?.[0]).toBeCloseTo(3, 3);
    const student = picture();
    await distill(
      student,
      { ...options, losses: [{ kind: 'teacher-values', border: 1 }] },
      learningContext(sourceOf({ input: 'x', dims: [1, 6, 6], values }), { source: trained }),
    );
    expect(weightsOf(student).get('w')?.[0]).toBeCloseTo(3, 2);
    const whole = picture();
    await train(whole, { ...options, losses: [{ kind: 'mse' }] }, context());
    expect(weightsOf(whole).get('w')?.[0]).toBeLessThan(0);
    await expect(train(picture(), { losses: [{ kind: 'mse', border: 3 }] }, context())).rejects.toThrow('larger than it');
  });

  test('a run that is not a number any more ends with what to do', async () => {
    const source = sourceOf(blobs({ count: 64, features: 16, classes: 10 }));
    const options = { epochs: 30, batch_size: 16, learning_rate: 1e12, optimizer: { name: 'sgd' } } as const;
    await expect(train(classifier(), options, learningContext(source))).rejects.toThrow('lower "learning_rate"');
  });

  test('labels that are no class of the output, and data without labels, are refused', async () => {
    const samples = blobs({ count: 32, features: 16, classes: 12, seed: 3 });
    await expect(train(classifier(), {}, learningContext(sourceOf(samples)))).rejects.toThrow('is none of the 10 classes');
    const { classes: _, ...unlabelled } = samples;
    await expect(train(classifier(), {}, learningContext(sourceOf(unlabelled)))).rejects.toThrow('the data set has none');
  });
});

/** conv -> normalization -> Relu -> mean -> Gemm, the normalization fresh. */
function normalized(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 2, 5, 5]);
  const conv = builder.node('Conv', [x, builder.constant('w', noise([4, 2, 3, 3], 1))], { pads: attributeOf.ints([1, 1, 1, 1]) });
  const ones = (value: number) => float32Tensor([4], new Float32Array(4).fill(value));
  const statistics = [builder.constant('mean', ones(0)), builder.constant('variance', ones(1))];
  const affine = [builder.constant('scale', ones(1)), builder.constant('shift', ones(0))];
  const normal = builder.node('BatchNormalization', [conv, ...affine, ...statistics], { momentum: attributeOf.float(0.8) });
  const mean = builder.node('ReduceMean', [builder.node('Relu', [normal])], {
    axes: attributeOf.ints([2, 3]),
    keepdims: attributeOf.int(0),
  });
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([4, 3], 2))]), ['n', 3]).model;
}

describe('BatchNormalization', () => {
  const values = noise([32, 2, 5, 5], 9);
  const source = sourceOf({
    input: 'x',
    dims: [2, 5, 5],
    values: float32Values(values),
    classes: Array.from({ length: 32 }, (_, at) => at % 3),
  });

  test('running statistics move as the operator says: old times momentum, the rest from the batch, its variance unbiased', async () => {
    const model = normalized();
    await train(model, { epochs: 1, batch_size: 32, learning_rate: 0 }, learningContext(source));
    const builder = new ModelBuilder();
    const conv = builder.node('Conv', [builder.input('x', [32, 2, 5, 5]), builder.constant('w', noise([4, 2, 3, 3], 1))], {
      pads: attributeOf.ints([1, 1, 1, 1]),
    });
    const [maps = new Float32Array()] = await outputsOf(builder.output(conv).model, { x: values });
    const found = weightsOf(model);
    for (let channel = 0; channel < 4; channel++) {
      const own = [...maps].filter((_, at) => Math.floor(at / 25) % 4 === channel);
      const mean = own.reduce((sum, value) => sum + value, 0) / own.length;
      const variance = own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (own.length - 1);
      expect(found.get('mean')?.[channel]).toBeCloseTo(0.2 * mean, 5);
      expect(found.get('variance')?.[channel]).toBeCloseTo(0.8 + 0.2 * variance, 5);
    }
  });

  test('fixed statistics stay', async () => {
    const model = normalized();
    await train(model, { epochs: 2, batch_size: 16, batch_normalization: 'fixed' }, learningContext(source));
    expect(weightsOf(model).get('mean')).toEqual([0, 0, 0, 0]);
    expect(weightsOf(model).get('scale')).not.toEqual([1, 1, 1, 1]);
  });
});

describe('distill', () => {
  const samples = blobs({ count: 256, features: 16, classes: 10 });
  const { classes: _, ...unlabelled } = samples;

  test('without labels a damaged copy comes back to its source', async () => {
    const source = classifier();
    const student = cloneModel(source);
    for (const [value, tensor] of student.graph.initializers) {
      const hurt = noise(tensor.dims, value.name.length + 3, 0.4);
      student.graph.initializers.set(
        value,
        float32Tensor(
          tensor.dims,
          float32Values(tensor).map((each, at) => each + (float32Values(hurt)[at] ?? 0)),
        ),
      );
    }
    const x = float32Tensor([256, 16], unlabelled.values);
    const difference = async (): Promise<number> => {
      const [a = new Float32Array()] = await outputsOf(source, { x });
      const [b = new Float32Array()] = await outputsOf(student, { x });
      return Math.sqrt(a.reduce((sum, each, at) => sum + (each - (b[at] ?? 0)) ** 2, 0) / a.length);
    };
    const before = await difference();
    const options = { epochs: 30, batch_size: 32, learning_rate: 0.01 };
    const { training } = await distill(student, options, learningContext(sourceOf(unlabelled), { source }));
    expect(training?.losses).toEqual(['teacher-values']);
    expect(await difference()).toBeLessThan(before / 5);
  });

  test('inner values of another width are followed through a matrix that is not in the artifact', async () => {
    const student = classifier({ hidden: 8 });
    const names = [...student.graph.initializers.keys()].map(({ name }) => name);
    const losses = [{ kind: 'feature', student: 'h', teacher: 'h' }] as const;
    const options = { epochs: 20, batch_size: 32, learning_rate: 0.01, losses };
    const { training } = await distill(student, options, learningContext(sourceOf(unlabelled), { source: classifier() }));
    const losing = training?.curve.map(({ loss }) => loss) ?? [];
    expect(losing.at(-1)).toBeLessThan(0.6 * (losing[0] ?? 0));
    expect([...student.graph.initializers.keys()].map(({ name }) => name)).toEqual(names);
    const refused = distill(
      classifier(),
      { losses: [{ kind: 'feature', student: 'h', teacher: 'nowhere' }] },
      learningContext(sourceOf(unlabelled), { source: classifier() }),
    );
    await expect(refused).rejects.toThrow('computes no value "nowhere"');
  });

  test('hints without names find the layers of both networks, and say which', async () => {
    const follow = (student: Model, losses: readonly [{ kind: 'feature' | 'attention' | 'similarity'; student?: string }]) =>
      distill(student, { epochs: 1, batch_size: 32, losses }, learningContext(sourceOf(unlabelled), { source: classifier() }));
    const found = await follow(classifier({ hidden: 8 }), [{ kind: 'feature' }]);
    expect(found.training?.hints).toEqual([{ student: 'r', teacher: 'r' }]);
    const half = await follow(classifier({ hidden: 8 }), [{ kind: 'similarity', student: 'h' }]);
    expect(half.training?.hints).toEqual([{ student: 'h', teacher: 'h' }]);
    await expect(follow(classifier(), [{ kind: 'attention' }])).rejects.toThrow('name them with "student" and "teacher"');
  });

  test('a job without the teacher that its recipe names is refused', async () => {
    await expect(distill(classifier(), { teacher: 'given' }, learningContext(sourceOf(unlabelled)))).rejects.toThrow('teacher_model_id');
  });

  test('answers that were kept are the answers, in any order', async () => {
    const teacher = await Teacher.open(runtime, classifier(), ['logits', 'h']);
    const feed = (rows: readonly number[]) =>
      new Map([
        [
          'x',
          float32Tensor(
            [rows.length, 16],
            rows.flatMap((row) => [...unlabelled.values.subarray(16 * row, 16 * row + 16)]),
          ),
        ],
      ]);
    const first = await teacher.answers({ feeds: feed([4, 5, 6, 7]), samples: [4, 5, 6, 7] });
    const again = await teacher.answers({ feeds: new Map(), samples: [6, 4, 4] });
    for (const [name, tensor] of again) {
      const width = name === 'h' ? 32 : 10;
      const rows = float32Values(first.get(name) ?? tensor);
      expect(tensor.dims).toEqual([3, width]);
      expect([...float32Values(tensor)]).toEqual([2, 0, 0].flatMap((row) => [...rows.subarray(width * row, width * (row + 1))]));
    }
    await teacher.close();
  });
});

describe('fine-tune', () => {
  test('a process that was killed goes on from its checkpoint and ends at the same bits', async () => {
    const samples = sourceOf(blobs({ count: 128, features: 16, classes: 10 }));
    const options = {
      epochs: 4,
      batch_size: 16,
      average_decay: 0.9,
      optimizer: { name: 'adamw' },
      augmentation: [{ name: 'mixup', alpha: 0.5 }],
    } as const;
    const whole = classifier();
    const plain = await fineTune(whole, options, learningContext(samples));
    expect(plain.training?.resumed_at).toBe(0);
    const checkpoints = await mkdtemp(join(scratch, 'checkpoints-'));
    const abort = new AbortController();
    let steps = 0;
    const context = learningContext(samples, {
      checkpoints,
      checkpointEveryMs: 0,
      signal: abort.signal,
    });
    const interrupted = fineTune(classifier(), options, {
      ...context,
      runtime: {
        ...context.runtime,
        async open(model, sessionOptions) {
          const session = await context.runtime.open(model, sessionOptions);
          const isTraining = sessionOptions?.config?.['session.use_deterministic_compute'] === '1';
          return isTraining
            ? {
                ...session,
                async run(feeds, fetches) {
                  steps += 1;
                  if (steps === 14) abort.abort();
                  return session.run(feeds, fetches);
                },
              }
            : session;
        },
      },
    });
    await expect(interrupted).rejects.toThrow();
    const resumed = classifier();
    const outcome = await fineTune(resumed, options, learningContext(samples, { checkpoints, checkpointEveryMs: 0 }));
    expect(outcome.training?.resumed_at).toBe(14);
    expect(weightsOf(resumed)).toEqual(weightsOf(whole));
    expect(outcome.training?.curve).toEqual(plain.training?.curve);
  });

  test('another recipe does not go on from the checkpoint of this one', async () => {
    const samples = sourceOf(blobs({ count: 64, features: 16, classes: 10 }));
    const checkpoints = await mkdtemp(join(scratch, 'checkpoints-'));
    const context = learningContext(samples, { checkpoints, checkpointEveryMs: 0 });
    await fineTune(classifier(), { epochs: 2, batch_size: 16 }, context);
    const { training } = await fineTune(classifier(), { epochs: 2, batch_size: 16, learning_rate: 0.5 }, context);
    expect(training?.resumed_at).toBe(0);
  });
});
