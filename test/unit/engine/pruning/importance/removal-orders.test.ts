/** Criteria that look at samples and gradients, and the order over all groups, against their formulas. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Values, type Model } from '../../../../../services/engine/ir/index.js';
import type { GradientSource } from '../../../../../services/engine/method.js';
import type { Criterion } from '../../../../../services/engine/pruning/importance/options.js';
import { rankUnits } from '../../../../../services/engine/pruning/importance/rank-units.js';
import type { RemovalOrder } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { removalOrders } from '../../../../../services/engine/pruning/importance/removal-orders.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import type { PruningGroup } from '../../../../../services/engine/pruning/structure/pruning-structure.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../../quantization/method-fixtures.js';
import { samplesOf } from '../../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const context = contextFor('measured');
const [units, map, count] = [5, 4, 40] as const;
const weights = { first: noise([units, 2, 3, 3], 1), second: noise([2, units, 1, 1], 2) };
const images = noise([count, 2, map, map], 3);

/** conv 3x3 -> Relu -> conv 1x1; `isCut` ends behind the Relu. */
function network(isCut = false): Model {
  const builder = new ModelBuilder();
  const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const first = builder.node('Conv', [builder.input('x', ['n', 2, map, map]), builder.constant('first', weights.first)], pads);
  const relu = builder.node('Relu', [first]);
  return builder.output(isCut ? relu : builder.node('Conv', [relu, builder.constant('second', weights.second)])).model;
}

function groupOf(model: Model): PruningGroup {
  const [group] = analyzeStructure(model, new Map([['x', [1, 2, map, map]]])).groups;
  if (group?.units.length !== units) throw new Error('the network has one group');
  return group;
}

async function orderOf(criterion: Criterion, gradients?: GradientSource): Promise<RemovalOrder> {
  const model = network();
  const request = { model, groups: [groupOf(model)], options: { criterion, normalizer: 'none' as const }, samples: samplesOf('x', images) };
  const [order] = (await removalOrders({ ...request, ...(gradients ? { gradients } : {}) }, context)).orders;
  if (!order) throw new Error('no order');
  return order;
}

/** Scores in the order in which the units go, the last one not told. */
function addedCosts({ costs }: RemovalOrder): number[] {
  return Array.from(costs.subarray(1), (cost, step) => cost - (costs[step] ?? 0));
}

async function channelValues(): Promise<Float32Array[]> {
  const [values = new Float32Array()] = await outputsOf(network(true), { x: images });
  return Array.from({ length: units }, (_, unit) => values.filter((_value, at) => Math.floor(at / map ** 2) % units === unit));
}

const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

const statistics: Readonly<Record<string, (values: Float32Array) => number>> = {
  'activation-mean': (values) => mean(values.map(Math.abs)),
  apoz: (values) => mean(values.map((value) => Number(value !== 0))),
  'activation-std': (values) => Math.sqrt(mean(values.map((value) => value ** 2)) - mean(values) ** 2),
};

describe('criteria of activations', () => {
  it.each(['activation-mean', 'apoz', 'activation-std'] as const)(
    '%s is that of the channels that the consumers see',
    async (criterion) => {
      const scores = (await channelValues()).map((values) => statistics[criterion]?.(values) ?? Number.NaN);
      const expected = scores.map((score, unit) => ({ score, unit })).sort((a, b) => a.score - b.score);
      const order = await orderOf(criterion);
      expect(order.steps.flat()).toEqual(expected.slice(0, -1).map(({ unit }) => unit));
      for (const [step, cost] of addedCosts(order).entries()) expect(cost).toBeCloseTo(expected[step]?.score ?? 0, 4);
    },
  );

  it('are refused without samples, with what to do', async () => {
    const model = network();
    await expect(removalOrders({ model, groups: [], options: { criterion: 'apoz' } }, context)).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining('--data'),
    });
  });
});

describe('criteria of gradients', () => {
  /** Gates: the derivative of a loss with respect to unit u in batch b is given; dL/dw = gate / (outputs w). */
  const gates = [
    [1, -2, 0.5, 3, 0],
    [-1, 2, 0.5, -3, 0.1],
    [0.5, 1, -0.5, 2, 0.2],
  ];
  const asked: number[] = [];
  const source: GradientSource = async function* ({ constants, batch }) {
    asked.push(batch);
    expect(constants).toEqual(['second']);
    const second = float32Values(weights.second);
    for (const gate of gates) yield new Map([['second', second.map((weight, at) => (gate[at % units] ?? 0) / (2 * weight))]]);
  };
  const squares = gates.map((gate) => gate.map((value) => value ** 2 / 2));
  const column = (rows: readonly number[][], unit: number): number[] => rows.map((row) => row[unit] ?? 0);

  it('taylor is the mean size of the derivative of a gate, over batches', async () => {
    const scores = Array.from({ length: units }, (_, unit) => mean(column(gates, unit).map(Math.abs))).sort((a, b) => a - b);
    for (const [step, cost] of addedCosts(await orderOf('taylor', source)).entries()) expect(cost).toBeCloseTo(scores[step] ?? 0, 5);
  });

  it('fisher is half its mean square, over single samples', async () => {
    const scores = Array.from({ length: units }, (_, unit) => mean(column(squares, unit))).sort((a, b) => a - b);
    for (const [step, cost] of addedCosts(await orderOf('fisher', source)).entries()) expect(cost).toBeCloseTo(scores[step] ?? 0, 5);
    expect(asked.at(-1)).toBe(1);
  });

  it('obs spares what others make good: of two gates that always move together each is worth less than by fisher', async () => {
    const twins: GradientSource = async function* () {
      const second = float32Values(weights.second);
      for (const [a = 0, b = 0, c = 0] of gates)
        yield new Map([['second', second.map((weight, at) => ([a, a, b, c, 1][at % units] ?? 0) / (2 * weight))]]);
    };
    const [fisher, obs] = [await orderOf('fisher', twins), await orderOf('obs', twins)];
    const score = (order: RemovalOrder, unit: number): number =>
      addedCosts(order)[order.steps.findIndex(([own]) => own === unit)] ?? Number.POSITIVE_INFINITY;
    expect(score(obs, 0)).toBeLessThan(0.1 * score(fisher, 0));
  });

  it('are refused where nothing computes gradients, with what to do instead', async () => {
    await expect(orderOf('taylor')).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining("'reconstruction'"),
    });
  });
});

describe('rankUnits', () => {
  const model = network();
  const group = groupOf(model);
  const order = (costs: readonly number[], id: string, kind: PruningGroup['kind'] = 'channels'): RemovalOrder => ({
    group: { ...group, id, kind },
    steps: costs.slice(1).map((_, at) => [at]),
    costs: Float64Array.from(costs),
  });
  const names = (ranked: ReturnType<typeof rankUnits>): string[] => ranked.map(({ order: { group: own }, step }) => `${own.id}${step}`);

  it('global: what adds least goes first, steps of one group in their order', () => {
    expect(names(rankUnits([order([0, 1, 1.5, 5], 'a'), order([0, 2, 6, 7], 'b')], 'global'))).toEqual([
      'a0',
      'a1',
      'b0',
      'a2',
      'b1',
      'b2',
    ]);
  });

  it('per-layer: every group has lost the same share, whatever it costs', () => {
    expect(names(rankUnits([order([0, 9, 99], 'a'), order([0, 1, 2, 3, 4], 'b')], 'per-layer'))).toEqual([
      'b0',
      'a0',
      'b1',
      'b2',
      'a1',
      'b3',
    ]);
  });

  it('isomorphic: groups of one form compete, those of others lose the same share', () => {
    const ranked = names(rankUnits([order([0, 9, 99], 'a'), order([0, 1, 2], 'b'), order([0, 500, 900], 'h', 'heads')], 'isomorphic'));
    expect(ranked.slice(0, 3).sort()).toEqual(['b0', 'b1', 'h0']);
    expect(ranked.filter((name) => name !== 'h0' && name !== 'h1')).toEqual(['b0', 'b1', 'a0', 'a1']);
  });
});

it('scores need no more than one unit per group: nothing can go then', async () => {
  const model = network();
  const group = groupOf(model);
  const single = { ...group, units: group.units.slice(0, 1), parts: [[0]] };
  const { orders } = await removalOrders({ model, groups: [single], options: { criterion: 'l2' } }, context);
  expect(orders[0]?.steps).toEqual([]);
  expect(orders[0]?.costs).toEqual(new Float64Array(1));
});

it('random needs neither samples nor weights of a type', async () => {
  const model = network();
  const group = groupOf(model);
  const steps = async (seed: number) =>
    (await removalOrders({ model, groups: [group], options: { criterion: 'random', seed } }, context)).orders[0]?.steps.flat();
  const orders = await Promise.all([1, 2, 3, 4, 5].map(steps));
  expect(new Set(orders.map((order) => order?.join())).size).toBeGreaterThan(1);
  for (const order of orders) expect(new Set(order).size).toBe(units - 1);
});
