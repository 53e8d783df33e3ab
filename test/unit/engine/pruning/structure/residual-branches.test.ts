/** Residual branches: what counts as one, and surgery on them against the model in which they give nothing, in onnxruntime. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Model, verifyModel } from '../../../../../services/engine/ir/index.js';
import { countMacs, parameterCount } from '../../../../../services/engine/ops/index.js';
import { ModelCost } from '../../../../../services/engine/pruning/budget/model-cost.js';
import { ValueSizes } from '../../../../../services/engine/pruning/budget/value-sizes.js';
import { removalOf } from '../../../../../services/engine/pruning/budget/width-problem.js';
import { orderOfScores, type RemovalOrder } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { maskCandidate, pruneCandidate } from '../../../../../services/engine/pruning/prune-candidate.js';
import { branchOrder } from '../../../../../services/engine/pruning/reconstruction/branch-orders.js';
import { analyzeStructure } from '../../../../../services/engine/pruning/structure/analyze-structure.js';
import { residualBranches } from '../../../../../services/engine/pruning/structure/residual-branches.js';
import { observeShapes } from '../../../../../services/engine/runtime/observe-shapes.js';
import { randomNetwork } from '../../../../support/random-networks/index.js';
import { fullWidths, sampleFeeds, smallNetwork } from '../small-network.js';
import { type Feeds, outputsOf, relativeDifference, runtime } from './pruning-oracle.js';

const cases = Number(process.env.LATHE_PRUNING_CASES ?? 120);

async function studied(model: Model, feeds: Feeds) {
  const { shapes } = await observeShapes(runtime, { model, feeds });
  const structure = analyzeStructure(model, shapes);
  const branches = residualBranches(model, shapes);
  const exact = structure.groups.filter(({ approximate }) => approximate === undefined);
  const units = exact.map((group) => orderOfScores(group, new Float64Array(group.units.length)));
  const orders: RemovalOrder[] = [...units, ...branches.map((branch) => branchOrder(branch, [0, 0, 0]))];
  return { model, shapes, structure, branches, orders };
}

describe('a residual branch', () => {
  test('is the term with the layers; a single layer in its place has the window of the branch and its outer channels', async () => {
    const { branches } = await studied(smallNetwork(fullWidths), sampleFeeds);
    expect(branches).toHaveLength(1);
    const [{ sum, index, nodes, standIn } = { sum: undefined, index: 1, nodes: [], standIn: undefined }] = branches;
    expect([sum?.opType, index]).toEqual(['Add', 0]);
    expect(nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu', 'Conv', 'Relu', 'Conv']);
    expect([standIn?.first, standIn?.last]).toEqual([nodes[0], nodes[4]]);
    expect(standIn?.window?.inputs[1]?.name).toBe('wide_w');
  });

  test('as one layer multiplies and holds what the cost says, whatever the widths of its streams', async () => {
    const study = await studied(smallNetwork(fullWidths), sampleFeeds);
    const cost = new ModelCost({ ...study, sizes: new ValueSizes(study.structure, study.orders) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 8 }), async (shares) => {
        const steps = study.orders.map((order, at) => Math.round((shares[at] ?? 0) * order.steps.length));
        const { model } = pruneCandidate(study, steps);
        const { shapes } = await observeShapes(runtime, { model, feeds: sampleFeeds });
        const { macs, parameters } = cost.at(removalOf(study.orders, steps));
        const branch = steps.at(-1) ?? 0;
        expect(macs).toBeCloseTo(countMacs(model, shapes).total, 4);
        // The bias of the last layer stays with the layer that stands in.
        const bias = branch === 1 ? (model.graph.initializers.get(biasOf(model))?.dims[0] ?? 0) : 0;
        expect(parameters + bias).toBeCloseTo(parameterCount(model), 4);
      }),
      { numRuns: 40, seed: 3 },
    );
  });
});

function biasOf(model: Model) {
  const [value] = [...model.graph.initializers.keys()].filter(({ name }) => name === 'narrow_b');
  if (!value) throw new Error('the last layer of the branch has a bias');
  return value;
}

const addsUp = new Set([
  'residual',
  'feed forward',
  'attention',
  'fused attention',
  'grouped queries',
  'gated linear unit',
  'token mixing',
]);
const withSums = randomNetwork.filter(({ blocks }) => blocks.some((name) => addsUp.has(name)));

describe('random networks', () => {
  test('with units and branches gone give the outputs of the original in which nothing reads them', {
    timeout: cases * 1000,
  }, async () => {
    let reduced = 0;
    await fc.assert(
      fc.asyncProperty(withSums, fc.noBias(fc.infiniteStream(fc.integer({ min: 0, max: 999 }))), async ({ model, feeds }, stream) => {
        const study = await studied(model, feeds);
        const steps = study.orders.map((order) => Math.floor((stream.next().value * (order.steps.length + 1)) / 1000));
        const { model: pruned, branches } = pruneCandidate(study, steps);
        verifyModel(pruned);
        const masked = maskCandidate(study, steps);
        verifyModel(masked);
        expect(relativeDifference(await outputsOf(masked, feeds), await outputsOf(pruned, feeds))).toBeLessThan(1e-4);
        reduced += branches.length;
      }),
      { numRuns: cases / 2, seed: 20_261_128 },
    );
    expect(reduced).toBeGreaterThan(cases / 6);
  });
});
