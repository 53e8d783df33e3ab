/** The default criterion on networks whose answer is known: which channels go first, and what a width costs. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Tensor, float32Values, type Model, type Tensor } from '../../../../../services/engine/ir/index.js';
import { WeightStore } from '../../../../../services/engine/layers/weight-store.js';
import { consumerParts } from '../../../../../services/engine/pruning/reconstruction/consumer-parts.js';
import { greedyOrders } from '../../../../../services/engine/pruning/reconstruction/greedy-orders.js';
import { costsThrough } from '../../../../../services/engine/pruning/reconstruction/output-noise.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import type { PruningGroup } from '../../../../../services/engine/pruning/structure/pruning-structure.js';
import { contextFor, ModelBuilder, noise, removeScratch } from '../../quantization/method-fixtures.js';
import { samplesOf } from '../../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const context = contextFor('measured');
const [units, map] = [6, 5] as const;
const samples = samplesOf('x', noise([64, 3, map, map], 3));

/** Rows of a weight changed one by one. */
function changedRows(weight: Tensor, change: (row: Float32Array, at: number, all: Float32Array) => void): Tensor {
  const values = Float32Array.from(float32Values(weight));
  const each = values.length / (weight.dims[0] ?? 1);
  for (let at = 0; at < (weight.dims[0] ?? 1); at += 1) change(values.subarray(at * each, (at + 1) * each), at, values);
  return float32Tensor(weight.dims, values);
}

/** conv -> conv -> conv without activations; channel 4 of the first is twice channel 1, and nothing reads channel 2. */
function network(): Model {
  const builder = new ModelBuilder();
  const first = changedRows(noise([units, 3, 1, 1], 1), (row, at, all) => {
    if (at === 4) for (const [k] of row.entries()) row[k] = 2 * (all[row.length + k] ?? 0);
  });
  const second = changedRows(noise([4, units, 3, 3], 2), (row) => row.fill(0, 2 * 9, 3 * 9));
  const a = builder.node('Conv', [builder.input('x', ['n', 3, map, map]), builder.constant('first', first)]);
  const b = builder.node('Conv', [a, builder.constant('second', second)], { pads: attributeOf.ints([1, 1, 1, 1]) });
  return builder.output(builder.node('Conv', [b, builder.constant('third', noise([2, 4, 1, 1], 4))])).model;
}

function groupOf(model: Model, width: number): PruningGroup {
  const group = analyzeStructure(model, new Map([['x', [1, 3, map, map]]])).groups.find((each) => each.units.length === width);
  if (!group) throw new Error(`no group of ${width}`);
  return group;
}

describe('greedyOrders', () => {
  it('takes first what nobody reads and what others can replace, and calls that free', async () => {
    const model = network();
    const [order] = (await greedyOrders({ model, groups: [groupOf(model, units)], samples }, context)).orders;
    const [[first], [second]] = (order?.steps ?? []) as [[number], [number]];
    // Three input channels: what is left of six is linear in three of them.
    expect(new Set([first, second, order?.steps[2]?.[0]])).toContain(2);
    expect(order?.costs[3]).toBeLessThan(1e-3);
    expect(order?.costs[4]).toBeGreaterThan(100 * (order?.costs[3] ?? 1));
    expect(order?.costs[0]).toBe(0);
  });

  it('has no order for units whose readers see values that are not finite, and says so', async () => {
    const builder = new ModelBuilder();
    const a = builder.node('Conv', [builder.input('x', ['n', 3, map, map]), builder.constant('first', noise([units, 3, 1, 1], 1))]);
    const endless = builder.node('Div', [a, builder.constant('zero', float32Tensor([1], [0]))]);
    const { model } = builder.output(builder.node('Conv', [endless, builder.constant('second', noise([4, units, 1, 1], 2))]));
    const { orders, unranked } = await greedyOrders({ model, groups: [groupOf(model, units)], samples }, context);
    expect(orders).toEqual([]);
    expect(unranked.map(({ reason }) => reason)).toEqual([expect.stringContaining('not finite')]);
  });

  it('never lets costs fall, and keeps one unit', async () => {
    const model = network();
    const groups = [groupOf(model, units), groupOf(model, 4)];
    const { orders, unranked } = await greedyOrders({ model, groups, samples }, context);
    expect(unranked).toEqual([]);
    for (const { steps, costs, group } of orders) {
      expect(steps).toHaveLength(group.units.length - 1);
      expect(new Set(steps.flat()).size).toBe(steps.length);
      for (let step = 1; step < costs.length; step += 1) expect(costs[step]).toBeGreaterThanOrEqual(costs[step - 1] ?? 0);
    }
  });

  it('says of a group that no constant weights read that it cannot be ranked', async () => {
    const model = network();
    const group = groupOf(model, units);
    const blind = {
      ...group,
      units: group.units.map((unit) => ({ ...unit, members: unit.members.filter(({ role }) => role !== 'consumer') })),
    };
    const { orders, unranked } = await greedyOrders({ model, groups: [blind], samples }, context);
    expect(orders).toEqual([]);
    expect(unranked.map(({ reason }) => reason)).toEqual([expect.stringContaining('reads its units')]);
  });
});

describe('consumerParts', () => {
  it('finds the columns of a unit in the weights of every kind of layer: they hold its slices of the constant', () => {
    const forms = {
      Conv: { dims: [4, units, 3, 3], attributes: {} },
      ConvTranspose: { dims: [units, 4, 3, 3], attributes: {} },
      MatMul: { dims: [units, 4], attributes: {} },
      Gemm: { dims: [4, units], attributes: { transB: attributeOf.int(1) } },
    };
    for (const [opType, { dims, attributes }] of Object.entries(forms)) {
      const builder = new ModelBuilder();
      const isMap = opType.startsWith('Conv');
      const x = builder.input('x', isMap ? ['n', 3, map, map] : ['n', 3]);
      const first = isMap
        ? builder.node('Conv', [x, builder.constant('first', noise([units, 3, 1, 1], 1))])
        : builder.node('MatMul', [x, builder.constant('first', noise([3, units], 1))]);
      const weight = noise(dims, 2);
      const { model } = builder.output(builder.node(opType, [first, builder.constant('second', weight)], attributes));
      const shapes = new Map([['x', isMap ? [1, 3, map, map] : [1, 3]]]);
      const [group] = analyzeStructure(model, shapes).groups;
      if (!group) throw new Error(`no group before ${opType}`);
      const parts = consumerParts(group, new WeightStore(model));
      expect(parts).toHaveLength(1);
      const axis = dims.indexOf(units);
      const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      const values = float32Values(weight);
      for (const { weight: found, blocks } of parts) {
        const depth = found.matrix.length / 4;
        for (const [unit, columns] of blocks.entries()) {
          const own = columns.flatMap((column) => Array.from({ length: 4 }, (_, output) => found.matrix[output * depth + column] ?? 0));
          const slices = [...values].filter((_, at) => Math.floor(at / inner) % units === unit);
          expect(own.sort((a, b) => a - b)).toEqual(slices.sort((a, b) => a - b));
        }
      }
    }
  });
});

describe('costsThrough', () => {
  const costs = Float64Array.of(0, 1, 2, 4);
  it('is linear in the costs between the points that were measured, and beyond the last', () => {
    expect([...costsThrough(costs, [{ steps: 2, noise: 0.1 }])]).toEqual([0, 0.05, 0.1, 0.2]);
    const points = [
      { steps: 3, noise: 0.5 },
      { steps: 1, noise: 0.1 },
    ];
    const expected = [0, 0.1, 0.1 + 0.4 / 3, 0.5];
    for (const [at, cost] of costsThrough(costs, points).entries()) expect(cost).toBeCloseTo(expected[at] ?? 0, 12);
  });
  it('never falls, and keeps the costs where nothing was measured', () => {
    const points = [
      { steps: 1, noise: 0.3 },
      { steps: 3, noise: 0.1 },
    ];
    expect([...costsThrough(costs, points)]).toEqual([0, 0.3, 0.3, 0.3]);
    expect(costsThrough(costs, [])).toEqual(costs);
  });
});
