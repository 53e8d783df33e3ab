/** Repair against what it must give: nothing changed where nothing was lost, everything back where the kept units can express it. */
import { afterAll, describe, expect, test } from 'vitest';
import { cloneModel, float32Tensor, float32Values, type Model } from '../../../../../services/engine/ir/index.js';
import type { MethodContext } from '../../../../../services/engine/method.js';
import { greedyOrders } from '../../../../../services/engine/pruning/reconstruction/greedy-orders.js';
import { repairLayers } from '../../../../../services/engine/pruning/reconstruction/repair-layers.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import { removeUnits } from '../../../../../services/engine/pruning/structure/remove-units.js';
import { buildModel, weights } from '../../../../support/build-model.js';
import { contextFor, noise, outputsOf, removeScratch } from '../../quantization/method-fixtures.js';
import { samplesOf } from '../../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const FEATURES = 12;
const HIDDEN = 8;
const OUTPUTS = 4;
const COUNT = 64;
const rows = noise([COUNT, FEATURES], 5);

/** x -> Gemm -> Gemm, nothing between them: hidden unit 7 is the sum of the units 0 and 1, bias included. */
function network(): Model {
  const first = float32Values(weights([FEATURES, HIDDEN], 2)).slice();
  for (let row = 0; row < FEATURES; row += 1) first[row * HIDDEN + 7] = (first[row * HIDDEN] ?? 0) + (first[row * HIDDEN + 1] ?? 0);
  const bias = float32Values(weights([HIDDEN], 3)).slice();
  bias[7] = (bias[0] ?? 0) + (bias[1] ?? 0);
  return buildModel({
    inputs: [{ name: 'x', shape: ['batch', FEATURES] }],
    outputs: [{ name: 'y', shape: ['batch', OUTPUTS] }],
    constants: {
      first: float32Tensor([FEATURES, HIDDEN], first),
      bias: float32Tensor([HIDDEN], bias),
      second: weights([HIDDEN, OUTPUTS], 4),
      shift: weights([OUTPUTS], 6),
    },
    nodes: [
      { opType: 'Gemm', name: 'hidden', inputs: ['x', 'first', 'bias'], outputs: ['h'] },
      { opType: 'Gemm', name: 'head', inputs: ['h', 'second', 'shift'], outputs: ['y'] },
    ],
  });
}

const context: MethodContext = contextFor('measured');
const samples = samplesOf('x', rows);
const shapes = new Map([
  ['x', [1, FEATURES]],
  ['h', [1, HIDDEN]],
  ['y', [1, OUTPUTS]],
]);

async function largestDifference(one: Model, other: Model): Promise<number> {
  const [a = new Float32Array()] = await outputsOf(one, { x: rows });
  const [b = new Float32Array()] = await outputsOf(other, { x: rows });
  return a.reduce((worst, value, at) => Math.max(worst, Math.abs(value - (b[at] ?? Number.NaN))), 0);
}

describe('repair', () => {
  test('an unpruned network stays as it is', async () => {
    const original = network();
    const pruned = cloneModel(original);
    const outcome = await repairLayers({ original, pruned, survivors: new Map(), samples }, context);
    expect(outcome.layers).toEqual([]);
    expect(await largestDifference(original, pruned)).toBe(0);
  });

  test('a unit that others can express is made good', async () => {
    const original = network();
    const pruned = cloneModel(original);
    const structure = analyzeStructure(original, shapes);
    const unit = structure.groups[0]?.units[7];
    if (!unit) throw new Error('the network has eight hidden units');
    const { survivors } = removeUnits(pruned, structure, [unit]);
    const lost = await largestDifference(original, pruned);
    const { error } = await repairLayers({ original, pruned, survivors, samples }, context);
    expect(lost).toBeGreaterThan(0.1);
    // What is left is the pull of the ridge, 1e-4 of the mean of the diagonal.
    expect(await largestDifference(original, pruned)).toBeLessThan(0.01 * lost);
    expect(error.after).toBeLessThan(1e-4 * error.before);
  });
});

test('the greedy choice removes first what costs nothing after refitting', async () => {
  const model = network();
  const { groups } = analyzeStructure(model, shapes);
  const { orders } = await greedyOrders({ model, groups, samples }, context);
  const [order] = orders;
  expect([[0], [1], [7]]).toContainEqual(order?.steps[0]);
  expect(order?.costs[1] ?? Number.NaN).toBeLessThan(1e-4 * (order?.costs.at(-1) ?? 0));
  const costs = [...(order?.costs ?? [])];
  expect(costs).toEqual([...costs].sort((a, b) => a - b));
});
