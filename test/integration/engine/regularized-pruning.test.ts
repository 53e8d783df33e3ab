/** Training that pulls channels to zero, and the pruning behind it, in one recipe: the channels that go are those, and the answers stay. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CompressRequest, compress } from '../../../services/engine/index.js';
import { attributeOf, float32Tensor, float32Values, type Model, type Value } from '../../../services/engine/ir/index.js';
import { decodeModelFile, encodeModelFile } from '../../../services/engine/onnx/index.js';
import { pseudoRandom } from '../../../services/engine/runtime/pseudo-random.js';
import { train } from '../../../services/engine/training/index.js';
import { float32Array, int64Array, writeNpz } from '../../support/write-npz.js';
import { ModelBuilder, noise, operators, removeScratch } from '../../unit/engine/quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../../unit/engine/training/training-fixtures.js';

const [SIZE, WIDTH, TRAINED, UNSEEN] = [8, 16, 1024, 1000];
type Step = CompressRequest['plan']['steps'][number];

/** A line in noise: level, upright, or along one of the diagonals. */
function pictures(count: number, seed: number): { values: Float32Array; classes: number[] } {
  const random = pseudoRandom(seed);
  const values = new Float32Array(count * SIZE * SIZE);
  const classes = Array.from({ length: count }, () => random.below(4));
  for (const [picture, label] of classes.entries()) {
    const line = random.below(SIZE);
    for (let at = 0; at < SIZE * SIZE; at++) {
      const [y, x] = [Math.floor(at / SIZE), at % SIZE];
      const place = [y, x, (x + y) % SIZE, (x - y + SIZE) % SIZE][label];
      values[picture * SIZE * SIZE + at] = (place === line ? 1 : 0) + 0.5 * random.normal();
    }
  }
  return { values, classes };
}

/** Two convolutions, whose normalizations are folded, then classes. */
function network(): Model {
  const builder = new ModelBuilder();
  const zeros = (name: string, size: number): Value => builder.constant(name, float32Tensor([size], new Float32Array(size)));
  const layer = (from: Value, name: string, inputs: number): Value => {
    const weight = builder.constant(`${name}_w`, noise([WIDTH, inputs, 3, 3], inputs, Math.sqrt(6 / (9 * inputs))));
    const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
    return builder.node('Relu', [builder.node('Conv', [from, weight, zeros(`${name}_b`, WIDTH)], pads)]);
  };
  const deep = layer(layer(builder.input('x', ['n', 1, SIZE, SIZE]), 'first', 1), 'second', WIDTH);
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [deep])]);
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([WIDTH, 4], 3, 0.5)), zeros('shift', 4)]), ['n', 4])
    .model;
}

let folder: string;
const learning = pictures(TRAINED, 1);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-regularized-'));
  const source = network();
  const samples = sourceOf({ input: 'x', dims: [1, SIZE, SIZE], ...learning });
  await train(source, { epochs: 20, learning_rate: 0.01 }, learningContext(samples));
  encodeModelFile(source, join(folder, 'source.onnx'));
  const unseen = pictures(UNSEEN, 2);
  for (const [name, { values, classes }] of [['data', learning] as const, ['eval', unseen] as const]) {
    const x = float32Array([classes.length, 1, SIZE, SIZE], values);
    await writeNpz(join(folder, `${name}.npz`), { x, labels: int64Array([classes.length], classes) });
  }
});

afterAll(async () => {
  removeScratch();
  await rm(folder, { recursive: true, force: true });
});

const runs = new Map<string, ReturnType<typeof run>>();

/** The same name is the same recipe, and runs once. */
function made(name: string, steps: readonly Step[]): ReturnType<typeof run> {
  const found = runs.get(name) ?? run(name, steps);
  runs.set(name, found);
  return found;
}

async function run(name: string, steps: readonly Step[]) {
  const scratch = join(folder, `${name}-scratch`);
  await mkdir(scratch);
  const { report } = await compress({
    ...{ modelPath: join(folder, 'source.onnx'), outDir: join(folder, name), scratch, measureBudgetMs: 20 },
    ...{ plan: { steps, objective: 'size' }, calibration: join(folder, 'data.npz'), evaluation: join(folder, 'eval.npz') },
  });
  const model = decodeModelFile(join(folder, name, 'model.onnx'));
  return { report, model, top1: report.artifact.metrics?.top1 ?? Number.NaN };
}

/** Filters of the first convolution, each as its numbers. */
function filters({ graph }: Model): number[][] {
  const first = graph.nodes.find(({ opType }) => opType === 'Conv')?.inputs[1] ?? null;
  const values = [...float32Values(graph.constant(first) ?? float32Tensor([0], []))];
  return Array.from({ length: values.length / 9 }, (_, row) => values.slice(9 * row, 9 * row + 9));
}

const size = (filter: readonly number[]): number => Math.hypot(...filter);
const tune = { method: 'fine-tune', epochs: 20, learning_rate: 0.03 } as const;
const slimmed = { ...tune, regularizer: { kind: 'slimming', strength: 0.1 } } as const;
const prune = {
  method: 'structured-pruning',
  criterion: 'bn-scale',
  budget: { macs: 0.1 },
  round_to: 1,
  min_channels: 2,
  sensitivity: false,
} as const;

describe('slimming', () => {
  test('the channels whose scales went to zero are those that are pruned, by their folded scales or by all their weights', async () => {
    const before = await made('slimmed', [slimmed]);
    expect(operators(before.model)).toEqual(operators(network()));
    expect(before.report.training[0]?.regularizer?.near_zero).toBeGreaterThan(16);
    const whole = filters(before.model);
    const dead = whole.filter((filter) => size(filter) < 0.01 * Math.max(...whole.map(size)));
    expect(dead.length).toBeGreaterThan(4);
    for (const criterion of ['bn-scale', 'l1'] as const) {
      const { model } = await made(`slimmed-${criterion}`, [slimmed, { ...prune, criterion, repair: false }]);
      const kept = new Set(filters(model).map(String));
      const gone = whole.filter((filter) => !kept.has(String(filter)));
      expect(gone.length).toBe(WIDTH - kept.size);
      expect(gone.length).toBeGreaterThan(4);
      expect(gone.filter((filter) => dead.includes(filter)).length).toBe(Math.min(gone.length, dead.length));
    }
  });

  test('answers stay, where the same training and pruning without it lose them', async () => {
    const [after, plain] = [await made('slim', [slimmed, prune]), await made('plain', [tune, prune])];
    expect(after.top1).toBeGreaterThan((await made('slimmed', [slimmed])).top1 - 0.01);
    expect(after.top1).toBeGreaterThan(plain.top1 + 0.04);
  });
});

describe('group lasso', () => {
  test('whole channels go to zero with all that reads them: pruning them changes nothing', async () => {
    const pulled = { ...tune, regularizer: { kind: 'group-lasso', strength: 0.003 } } as const;
    const before = await made('lasso', [pulled]);
    const after = await made('lasso-pruned', [pulled, { ...prune, criterion: 'l2', budget: { macs: 0.35 }, repair: false }]);
    expect(before.report.training[0]?.regularizer?.near_zero).toBeGreaterThan(10);
    expect(filters(after.model).length).toBeLessThan(WIDTH);
    expect(Math.abs(after.top1 - before.top1)).toBeLessThan(0.005);
    expect(before.top1).toBeGreaterThan(0.9);
  });
});
