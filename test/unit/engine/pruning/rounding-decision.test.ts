/** Which of several timed widths is taken: by what they lose once repaired, whatever the search believes of them. */
import { afterAll, describe, expect, test } from 'vitest';
import type { MethodContext } from '../../../../services/engine/method.js';
import { pruneCandidate } from '../../../../services/engine/pruning/prune-candidate.js';
import { decideRounding, tellTrials } from '../../../../services/engine/pruning/rounding-decision.js';
import { studyModel } from '../../../../services/engine/pruning/study-model.js';
import type { WidthTrial } from '../../../../services/engine/pruning/width-search.js';
import { contextFor, removeScratch } from '../quantization/method-fixtures.js';
import { fullWidths, networkSamples, sampleFeeds, smallNetwork } from './small-network.js';

afterAll(removeScratch);

const context: MethodContext = { ...contextFor('measured'), sample: sampleFeeds, calibration: networkSamples(96) };
const study = await studyModel(smallNetwork(fullWidths), { remove_branches: false }, context);
const orderOf = (units: number): number => study.orders.findIndex(({ group }) => group.units.length === units);

interface Believed {
  /** Units that go from the stream and from the hidden layer. */
  readonly stream?: number;
  readonly hidden?: number;
  readonly cost: number;
  readonly time: number;
}

function trial({ stream = 0, hidden = 0, cost, time }: Believed): WidthTrial {
  const gone = new Map([
    [orderOf(fullWidths.stream), stream],
    [orderOf(fullWidths.hidden), hidden],
  ]);
  const candidate = pruneCandidate(
    study,
    study.orders.map((_, at) => gone.get(at) ?? 0),
  );
  return {
    ...{ roundTo: 4, candidate, cost, reached: { macs: 0.5, parameters: 0.5, bytes: 0.5, latency: time / 100 } },
    timing: { before: 100, after: time, ratio: { low: 100 / time, high: 100 / time } },
  };
}

async function decide(trials: readonly WidthTrial[], { budget = {}, options = {}, isTimed = true } = {}) {
  const search = { isTimed, trials: async () => [...trials] };
  return decideRounding(search, { study, asked: { macs: 0.5, ...budget }, options: { round_to: 4, ...options }, context });
}

describe('of widths that keep the budget', () => {
  // Half of a stream that the rest is made of, or a few of many hidden units: the beliefs say the opposite.
  const lossy = trial({ stream: 16, cost: 0.001, time: 50 });
  const faithful = trial({ hidden: 4, cost: 0.1, time: 60 });

  test('those are taken that lose less once repaired, though the search believes that they cost more and are slower', async () => {
    const { trial: taken, compared } = await decide([lossy, faithful]);
    expect(taken?.candidate).toBe(faithful.candidate);
    const errorOf = (each: WidthTrial) => compared.find(({ candidate }) => candidate === each.candidate)?.error ?? Number.NaN;
    expect(errorOf(lossy)).toBeGreaterThan(2.5 * errorOf(faithful));
  });

  test('the faster are taken that lose hardly more, though the search believes that they cost a hundred times as much', async () => {
    const faster = trial({ hidden: 5, cost: 10, time: 40 });
    expect((await decide([faithful, faster])).trial?.candidate).toBe(faster.candidate);
  });

  test('with a budget of latency those that lose least, however fast the others are', async () => {
    const faster = trial({ hidden: 16, cost: 0.001, time: 30 });
    expect((await decide([faithful, faster], { budget: { latency: 0.7 } })).trial?.candidate).toBe(faithful.candidate);
  });

  test('those that miss the budget or are slower than the source are not compared', async () => {
    const slower = trial({ hidden: 6, cost: 0.0001, time: 130 });
    const larger = { ...trial({ hidden: 3, cost: 0.0001, time: 30 }), reached: { macs: 0.6, parameters: 1, bytes: 1 } };
    const { trial: taken, compared } = await decide([slower, larger, lossy, faithful]);
    expect(taken?.candidate).toBe(faithful.candidate);
    expect(compared).toHaveLength(2);
  });

  test.each([
    ['nothing is repaired', { options: { repair: false } }],
    ['nothing is timed', { isTimed: false }],
  ])('the estimate decides where %s', async (_what, more) => {
    const { trial: taken, compared } = await decide([lossy, faithful], more);
    expect(taken?.candidate).toBe(lossy.candidate);
    expect(compared).toEqual([]);
  });

  test('the report tells what was compared, and which was taken', async () => {
    const [line] = tellTrials(await decide([lossy, faithful]));
    expect(line).toMatch(/2 choices of widths were repaired and compared .*: 60\.0 ms, \S+ % .*, taken; 50\.0 ms, \S+ %/);
  });
});
