/** Penalties against their formulas in float64, and their gradients against central differences. */
import { describe, expect, test } from 'vitest';
import { float32Tensor, float32Values, type Tensor, type Value } from '../../../../../services/engine/ir/index.js';
import type { RemovableGroup } from '../../../../../services/engine/method.js';
import { groupLasso, growingDecay, slimming } from '../../../../../services/engine/training/losses/penalties.js';
import {
  type PenaltyGroup,
  type PenaltyPart,
  structureGroups,
  unitSizes,
  unitSquares,
} from '../../../../../services/engine/training/regularization/penalty-groups.js';
import type { Parameter } from '../../../../../services/engine/training/trainable-model.js';
import { noise } from '../../quantization/method-fixtures.js';
import { checkLoss, lossModel, sum } from '../loss-fixtures.js';

const parameter = (name: string, tensor: Tensor, role: Parameter['role'] = 'weight'): Parameter => ({
  name,
  dims: tensor.dims,
  role,
  values: float32Values(tensor),
});
/** Rows of a filter bank, columns of what reads it behind a flattening by two, a bias, and one direction of two. */
const filters = noise([3, 2, 2], 1);
const readers = noise([6, 2], 2);
const directions = noise([2, 3], 3);
const trained = new Map(
  [
    parameter('filters', filters),
    parameter('readers', readers),
    parameter('directions', directions),
    parameter('bias', noise([3], 4), 'bias'),
  ].map((each) => [each.name, each] as const),
);
const structure: RemovableGroup = {
  id: 'filters',
  units: [0, 1, 2].map((unit) => [
    { constant: 'filters', axis: 0, indices: [unit] },
    { constant: 'readers', axis: 0, indices: [2 * unit, 2 * unit + 1] },
    ...(unit === 1 ? [] : [{ constant: 'directions', axis: 1, indices: [2 - unit], within: { axis: 0, from: 1, to: 2 } }]),
    { constant: 'bias', axis: 0, indices: [unit] },
    { constant: 'frozen', axis: 0, indices: [unit] },
  ]),
};
const [group] = structureGroups([structure], trained) as [PenaltyGroup];

/** What belongs to each unit, written out. */
const weightsOfUnit = [0, 1, 2].map((unit) => [
  ...float32Values(filters).subarray(4 * unit, 4 * unit + 4),
  ...float32Values(readers).subarray(4 * unit, 4 * unit + 4),
  ...(unit === 1 ? [] : [float32Values(directions)[3 + 2 - unit] ?? 0]),
]);
const squares = weightsOfUnit.map((weights) => sum(weights.map((weight) => weight ** 2)));

const feedsFrom = (first: string): Readonly<Record<string, Tensor>> => {
  const all = { filters, readers, directions };
  const { [first as keyof typeof all]: own, ...others } = all;
  return { [first]: own as Tensor, ...others };
};
const inputsOf = (feeds: Readonly<Record<string, Tensor>>, values: readonly Value[]) => {
  const byName = new Map(Object.keys(feeds).map((name, at) => [name, values[at] as Value] as const));
  return (part: PenaltyPart): Value => byName.get(part.parameter.name) as Value;
};

describe('units', () => {
  test('are what is trained of them, without biases; slices in parts of a constant count only there', () => {
    expect(group.parts.map((part) => part.parameter.name)).toEqual(['filters', 'readers', 'directions']);
    expect(unitSizes(group)).toEqual([9, 8, 9]);
    const found = unitSquares(group, ({ values }) => values);
    for (const [unit, square] of squares.entries()) expect(found[unit]).toBeCloseTo(square, 6);
    expect(structureGroups([structure], new Map())).toEqual([]);
  });
});

describe('penalties', () => {
  test.each(['filters', 'readers', 'directions'])('group lasso, by %s', async (first) => {
    const feeds = feedsFrom(first);
    const model = lossModel((write, ...values) => groupLasso(write, group, inputsOf(feeds, values)), feeds);
    await checkLoss(model, feeds, sum(weightsOfUnit.map((weights, unit) => Math.sqrt(weights.length * (squares[unit] ?? 0)))));
  });

  test('growing decay pulls the smallest unit most and the largest not at all', async () => {
    const importance = Float64Array.from([4, 1, 2]);
    const feeds = feedsFrom('filters');
    const model = lossModel((write, ...values) => growingDecay(write, group, { valueFor: inputsOf(feeds, values), importance }), feeds);
    const [, second = 0, third = 0] = squares;
    await checkLoss(model, feeds, (second + (2 / 3) * third) / 2);
  });

  test('slimming is the sum of the sizes of the scales whose channels can go', async () => {
    const scale = float32Tensor([4], [0.5, -2, 1, 0.25]);
    const part = { parameter: parameter('scale', scale, 'scale'), axis: 0, indices: [[1], [2], [3]] };
    const model = lossModel((write, value) => slimming(write, { units: 3, parts: [part] }, () => value), { scale });
    await checkLoss(model, { scale }, 3.25);
  });

  test('a unit at zero keeps a finite slope', async () => {
    const zero = float32Tensor([2, 2], [0, 0, 1, 1]);
    const part = { parameter: parameter('w', zero), axis: 0, indices: [[0], [1]] };
    const model = lossModel((write, value) => groupLasso(write, { units: 2, parts: [part] }, () => value), { zero });
    await checkLoss(model, { zero }, Math.SQRT2 * (Math.sqrt(1e-8) + Math.SQRT2));
  });
});
