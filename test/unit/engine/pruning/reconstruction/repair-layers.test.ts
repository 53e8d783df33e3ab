/** Repair of small networks: nothing where nothing is lost, everything where what remains can give it. */
import { afterAll, describe, expect, it } from 'vitest';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  type Model,
  type Tensor,
  type Value,
} from '../../../../../services/engine/ir/index.js';
import { type RepairOutcome, repairLayers } from '../../../../../services/engine/pruning/reconstruction/repair-layers.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import { removeUnits } from '../../../../../services/engine/pruning/structure/remove-units.js';
import { observeShapes } from '../../../../../services/engine/runtime/observe-shapes.js';
import { withOutputs } from '../../../../../services/engine/runtime/trace.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, runtime } from '../../quantization/method-fixtures.js';
import { samplesOf } from '../../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const channels = 6;
const size = 6;
const context = contextFor('measured');

/** Output channels `twins` are linear combinations of the others: w_t = sum of coefficients times w_other. */
function redundant(weight: Tensor, twins: readonly number[]): Tensor {
  const values = Float32Array.from(float32Values(weight));
  const each = values.length / channels;
  for (const twin of twins) {
    for (let at = 0; at < each; at += 1) values[twin * each + at] = 0.5 * (values[at] ?? 0) - 0.25 * (values[each + at] ?? 0);
  }
  return float32Tensor(weight.dims, values);
}

interface Network {
  readonly model: Model;
  /** Channels that are linear in the others. */
  readonly twins: readonly number[];
}

const twins = [3, 5];
const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** Without activations between, so that a linear combination stays one: conv -> conv -> mean -> Gemm. */
function linearConvolutions(): Network {
  const builder = new ModelBuilder();
  const conv = (from: Value, name: string, dims: readonly number[], change = (weight: Tensor) => weight): Value =>
    builder.node('Conv', [from, builder.constant(`${name}_w`, change(noise(dims, name.length + (dims[1] ?? 0))))], pads);
  const first = conv(builder.input('x', ['n', 3, size, size]), 'first', [channels, 3, 3, 3], (weight) => redundant(weight, twins));
  const second = conv(first, 'second', [4, channels, 3, 3]);
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [second])]);
  const scores = builder.node('Gemm', [mean, builder.constant('head', noise([4, 3], 9))]);
  return { model: builder.output(scores, ['n', 3]).model, twins };
}

/** A residual block with a projection on its shortcut, and Relus. */
function residual(): Network {
  const builder = new ModelBuilder();
  const conv = (from: Value, name: string, dims: readonly number[], attributes = {}): Value =>
    builder.node(
      'Conv',
      [from, builder.constant(`${name}_w`, noise(dims, 3 * name.length, 0.5)), builder.constant(`${name}_b`, noise([dims[0] ?? 1], 7))],
      attributes,
    );
  const stem = builder.node('Relu', [conv(builder.input('x', ['n', 3, size, size]), 'stem', [channels, 3, 3, 3], pads)]);
  const inner = builder.node('Relu', [conv(stem, 'inner', [channels + 2, channels, 3, 3], pads)]);
  const sum = builder.node('Add', [
    conv(inner, 'outer', [channels + 4, channels + 2, 3, 3], pads),
    conv(stem, 'shortcut', [channels + 4, channels, 1, 1]),
  ]);
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [builder.node('Relu', [sum])])]);
  return {
    model: builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([channels + 4, 3], 9))]), ['n', 3]).model,
    twins,
  };
}

const images = noise([96, 3, size, size], 21);
const unseen = noise([16, 3, size, size], 22);

/** Takes the units at `positions` out of the group with `width` units. */
async function pruned({ model }: Network, removals: Readonly<Record<number, readonly number[]>>) {
  const { shapes } = await observeShapes(runtime, { model, feeds: new Map([['x', noise([1, 3, size, size], 1)]]) });
  const structure = analyzeStructure(model, shapes);
  const units = Object.entries(removals).flatMap(([width, positions]) => {
    const group = structure.groups.find((each) => each.units.length === Number(width));
    if (!group) throw new Error(`no group of ${width}`);
    return positions.flatMap((at) => group.units[at] ?? []);
  });
  const copy = cloneModel(model);
  return { copy, ...removeUnits(copy, structure, units) };
}

async function relativeError(model: Model, other: Model): Promise<number> {
  const [expected = new Float32Array()] = await outputsOf(model, { x: unseen });
  const [actual = new Float32Array()] = await outputsOf(other, { x: unseen });
  let [error, power] = [0, 0];
  for (const [at, value] of expected.entries()) {
    error += (value - (actual[at] ?? 0)) ** 2;
    power += value ** 2;
  }
  return Math.sqrt(error / power);
}

/** min over W and b of sum |y - W x - b|^2 for rows x [n, depth] and y [n, 3], by elimination without ridge. */
function leastSquaresError(x: Float32Array, y: Float32Array, depth: number): number {
  const n = x.length / depth;
  const size = depth + 1;
  const row = (at: number): number[] => [...x.slice(at * depth, (at + 1) * depth), 1];
  let error = 0;
  for (let o = 0; o < 3; o += 1) {
    const system = Array.from({ length: size }, () => new Array<number>(size + 1).fill(0));
    for (let at = 0; at < n; at += 1) {
      const line = [...row(at), y[at * 3 + o] ?? 0];
      for (const [i, equation] of system.entries())
        for (const [j, value] of line.entries()) equation[j] = (equation[j] ?? 0) + (line[i] ?? 0) * value;
    }
    for (const [i, pivot] of system.entries()) {
      for (const [k, other] of system.entries()) {
        const factor = k === i ? 0 : (other[i] ?? 0) / (pivot[i] ?? 1);
        for (let j = i; j <= size; j += 1) other[j] = (other[j] ?? 0) - factor * (pivot[j] ?? 0);
      }
    }
    const solution = system.map((equation, i) => (equation[size] ?? 0) / (equation[i] ?? 1));
    for (let at = 0; at < n; at += 1)
      error += ((y[at * 3 + o] ?? 0) - row(at).reduce((sum, value, i) => sum + value * (solution[i] ?? 0), 0)) ** 2;
  }
  return error;
}

function repair(original: Model, { copy, survivors }: Awaited<ReturnType<typeof pruned>>): Promise<RepairOutcome> {
  return repairLayers({ original, pruned: copy, survivors, samples: samplesOf('x', images) }, context);
}

describe('repairLayers', () => {
  it('changes nothing in a network that was not pruned', async () => {
    const { model } = residual();
    const copy = cloneModel(model);
    const { nodes } = await repairLayers({ original: model, pruned: copy, survivors: new Map(), samples: samplesOf('x', images) }, context);
    expect(nodes.map(({ action }) => action)).not.toContain('changed');
    expect(await relativeError(model, copy)).toBe(0);
  });

  it('restores a network whose removed channels are linear in those that remain', async () => {
    const network = linearConvolutions();
    const cut = await pruned(network, { [channels]: network.twins });
    const before = await relativeError(network.model, cut.copy);
    const { error } = await repair(network.model, cut);
    const after = await relativeError(network.model, cut.copy);
    expect(before).toBeGreaterThan(0.05);
    expect(after).toBeLessThan(1e-2 * before);
    expect(error.after).toBeLessThan(error.before);
  });

  it('brings the outputs of a residual network closer on samples that it has not seen, and says so', async () => {
    const network = residual();
    const cut = await pruned(network, { [channels]: [1, 4], [channels + 2]: [0, 2, 5], [channels + 4]: [3, 6] });
    const before = await relativeError(network.model, cut.copy);
    const { nodes, layers } = await repair(network.model, cut);
    // Random channels are no combinations of each other: much cannot come back.
    expect(await relativeError(network.model, cut.copy)).toBeLessThan(0.75 * before);
    const changed = nodes.filter(({ action }) => action === 'changed').map(({ node }) => node);
    expect(changed.length).toBeGreaterThan(2);
    expect(layers.map(({ node }) => node)).toEqual(changed);
    expect(layers.every(({ sqnr_db }) => Number.isFinite(sqnr_db))).toBe(true);
  });

  it('leaves no error in the last layer that least squares in float64 on the same features would not leave', async () => {
    const network = residual();
    const cut = await pruned(network, { [channels]: [1, 4], [channels + 4]: [3, 6] });
    await repair(network.model, cut);
    const features = cut.copy.graph.nodes.at(-1)?.inputs[0]?.name ?? '';
    const [targets = new Float32Array()] = await outputsOf(network.model, { x: images });
    const [given = new Float32Array(), rows = new Float32Array()] = await outputsOf(withOutputs(cut.copy, [features]), { x: images });
    const least = leastSquaresError(rows, targets, channels + 2);
    const left = targets.reduce((sum, value, at) => sum + (value - (given[at] ?? 0)) ** 2, 0);
    expect(least).toBeGreaterThan(0);
    expect(left).toBeLessThan(1.05 * least);
  });

  it('leaves a layer whose values are not finite as it is, names it, and repairs the others', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 3, size, size]);
    const stem = builder.node('Conv', [x, builder.constant('stem', noise([channels, 3, 3, 3], 3))], pads);
    const head = (name: string, from: Value): void => {
      const flat = builder.node('Flatten', [builder.node('GlobalAveragePool', [from])]);
      builder.output(builder.node('Gemm', [flat, builder.constant(name, noise([channels, 3], 9))]), ['n', 3]);
    };
    head('sound', stem);
    head('endless', builder.node('Div', [stem, builder.constant('zero', float32Tensor([1], [0]))]));
    const network = { model: builder.model, twins };
    const { nodes } = await repair(network.model, await pruned(network, { [channels]: [1, 4] }));
    const reasons = nodes.map(({ action, reason }) => `${action}: ${reason}`);
    expect(reasons.filter((reason) => reason.includes('not finite'))).toHaveLength(1);
    expect(reasons.filter((reason) => reason.startsWith('changed: refitted'))).toHaveLength(1);
  });

  it('leaves the original as it is', async () => {
    const network = residual();
    const [before] = await outputsOf(network.model, { x: unseen });
    await repair(network.model, await pruned(network, { [channels]: [0] }));
    expect((await outputsOf(network.model, { x: unseen }))[0]).toEqual(before);
  });
});
