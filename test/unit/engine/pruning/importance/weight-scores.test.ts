/** Scores of units against their formulas, written out on small layers. */
import { describe, expect, test } from 'vitest';
import { float32Tensor, type Model } from '../../../../../services/engine/ir/index.js';
import { combinedScores } from '../../../../../services/engine/pruning/importance/combined-scores.js';
import { memberWeights } from '../../../../../services/engine/pruning/importance/member-weights.js';
import { orderOfScores } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { removalOrders } from '../../../../../services/engine/pruning/importance/removal-orders.js';
import { weightScores } from '../../../../../services/engine/pruning/importance/weight-scores.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import type { PruningGroup } from '../../../../../services/engine/pruning/structure/pruning-structure.js';
import { buildModel } from '../../../../support/build-model.js';
import { contextFor, ModelBuilder } from '../../quantization/method-fixtures.js';

// x [1, 2] -> first [2, 3] -> Relu -> second [3, 1]: three hidden units, rows (3, 4), (0, 1), (3, 4) and columns 2, 1, 0.
const first = [3, 0, 3, 4, 1, 4];
const second = [2, 1, 0];

function network(): Model {
  return buildModel({
    inputs: [{ name: 'x', shape: [1, 2] }],
    outputs: [{ name: 'y', shape: [1, 1] }],
    constants: { first: float32Tensor([2, 3], Float32Array.from(first)), second: float32Tensor([3, 1], Float32Array.from(second)) },
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'first'], outputs: ['h'] },
      { opType: 'Relu', inputs: ['h'], outputs: ['a'] },
      { opType: 'MatMul', inputs: ['a', 'second'], outputs: ['y'] },
    ],
  });
}

function hidden(model: Model): PruningGroup {
  const [group] = analyzeStructure(model, new Map([['x', [1, 2]]])).groups;
  if (!group) throw new Error('the network has hidden units');
  return group;
}

const lists = (scores: readonly Float64Array[]): number[][] => scores.map((each) => [...each]).sort((a, b) => (b[0] ?? 0) - (a[0] ?? 0));

describe('scores of weights', () => {
  test('l1 and l2 add up what producers and consumers have of a unit', () => {
    const model = network();
    expect(lists(weightScores(model, hidden(model), 'l1'))).toEqual([
      [7, 1, 7],
      [2, 1, 0],
    ]);
    expect(lists(weightScores(model, hidden(model), 'l2'))).toEqual([
      [25, 1, 25],
      [4, 1, 0],
    ]);
  });

  test('lamp divides by the energy of all that is not smaller', () => {
    const model = network();
    const [producer] = lists(weightScores(model, hidden(model), 'lamp')).filter((each) => each[0] === each[2]);
    expect(producer).toEqual([25 / 50, 1 / 51, 25 / 50]);
  });

  test('fpgm is the sum of the distances to the other units', () => {
    const model = network();
    const distance = Math.sqrt(9 + 9);
    const found = lists(weightScores(model, hidden(model), 'fpgm'));
    expect(found[0]?.[1]).toBeCloseTo(2 * distance, 6);
    expect(found[0]?.[0]).toBeCloseTo(distance, 6);
  });

  test('bn-scale looks at the filters where normalizations were folded into them, and at the scales where they were not', () => {
    const model = network();
    expect(lists(weightScores(model, hidden(model), 'bn-scale'))).toEqual([[7, 1, 7]]);
    const builder = new ModelBuilder();
    const vector = (name: string, values: readonly number[]) => builder.constant(name, float32Tensor([values.length], values));
    const scales = [vector('scale', [3, -4]), vector('shift', [5, 6]), vector('mean', [0, 0]), vector('variance', [1, 1])];
    const conv = builder.node('Conv', [builder.input('x', [1, 1, 1, 1]), builder.constant('w', float32Tensor([2, 1, 1, 1], [9, 9]))]);
    const normal = builder.node('BatchNormalization', [conv, ...scales]);
    builder.output(builder.node('Conv', [normal, builder.constant('v', float32Tensor([1, 2, 1, 1], [1, 1]))]), [1, 1, 1, 1]);
    const [group] = analyzeStructure(builder.model, new Map([['x', [1, 1, 1, 1]]])).groups;
    expect(lists(weightScores(builder.model, group as PruningGroup, 'bn-scale'))).toEqual([[3, 4]]);
  });

  test('a group in which the criterion finds nothing is unranked, with a reason', async () => {
    const model = network();
    const group = { ...hidden(model), units: hidden(model).units.map((unit) => ({ ...unit, members: [] })) };
    const options = { criterion: 'bn-scale' } as const;
    const { orders, unranked } = await removalOrders({ model, groups: [group], options }, contextFor('measured'));
    expect(orders).toEqual([]);
    expect(unranked.map(({ reason }) => reason)).toEqual([expect.stringContaining('bn-scale')]);
  });

  test('the least important unit goes first; random is the same for the same seed', async () => {
    const model = network();
    const group = hidden(model);
    const order = async (options: Parameters<typeof removalOrders>[0]['options']) =>
      (await removalOrders({ model, groups: [group], options }, contextFor('measured'))).orders[0]?.steps;
    expect((await order({ criterion: 'l2', reduction: 'sum', normalizer: 'none' }))?.[0]).toEqual([1]);
    expect(await order({ criterion: 'random', seed: 3 })).toEqual(await order({ criterion: 'random', seed: 3 }));
  });

  test('reconstruction without samples is refused with what to do', async () => {
    const model = network();
    await expect(
      removalOrders({ model, groups: [], options: { criterion: 'reconstruction' } }, contextFor('measured')),
    ).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining('--data'),
    });
  });
});

describe('combined scores', () => {
  const layers = [Float64Array.of(1, 3), Float64Array.of(30, 10)];
  test('layers weigh the same whatever their size', () => {
    expect([...combinedScores(layers, 'sum', 'none')]).toEqual([0.5 + 1.5, 1.5 + 0.5]);
    expect([...combinedScores(layers, 'product', 'none')]).toEqual([0.75, 0.75]);
    expect([...combinedScores(layers, 'first', 'none')]).toEqual([0.5, 1.5]);
    expect([...combinedScores(layers, 'max', 'max')]).toEqual([1, 1]);
  });
  test('gaussian has mean 0 and deviation 1', () => {
    expect([...combinedScores([Float64Array.of(1, 3)], 'mean', 'gaussian')]).toEqual([-1, 1]);
  });
});

describe('slices', () => {
  const tensor = float32Tensor([2, 3], Float32Array.of(0, 1, 2, 3, 4, 5));
  test('are gathered along their axis, and only within the part that is meant', () => {
    expect([...memberWeights(tensor, { axis: 1, indices: [0, 2] })]).toEqual([0, 2, 3, 5]);
    expect([...memberWeights(tensor, { axis: 0, indices: [1] })]).toEqual([3, 4, 5]);
    expect([...memberWeights(tensor, { axis: 1, indices: [0, 2], within: { axis: 0, from: 1, to: 2 } })]).toEqual([3, 5]);
  });
});

test('units of parts go in step, so that the parts stay equal', () => {
  const model = network();
  const group = { ...hidden(model), parts: [[0, 1], [2]] };
  expect(orderOfScores(group, [2, 1, 0]).steps).toEqual([]);
  expect(orderOfScores({ ...group, parts: [[0, 1, 2]] }, [2, 1, 0]).steps).toEqual([[2], [1]]);
});
