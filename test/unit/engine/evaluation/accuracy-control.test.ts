import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ControlResult, controlAccuracy } from '../../../../services/engine/evaluation/accuracy-control.js';
import { Graph, Model } from '../../../../services/engine/ir/index.js';

/** A loss over what is still quantized, and the order in which units are believed to hurt. */
interface Problem {
  readonly units: readonly string[];
  loss(quantized: ReadonlySet<string>): number;
  readonly ranking?: readonly string[];
  readonly limit: number;
  readonly signal?: AbortSignal;
}

interface Control extends ControlResult {
  readonly built: readonly (readonly string[])[];
  readonly rankings: number;
}

async function control({ units, loss, ranking = units, limit, signal = new AbortController().signal }: Problem): Promise<Control> {
  const quantizedIn = new Map<Model, ReadonlySet<string>>();
  const built: (readonly string[])[] = [];
  let rankings = 0;
  const result = await controlAccuracy({
    units: units.map((id) => ({ id })),
    limit,
    signal,
    async build(reverted) {
      const model = new Model(new Graph());
      built.push([...reverted]);
      quantizedIn.set(model, new Set(units.filter((id) => !reverted.has(id))));
      return model;
    },
    score: async (model) => loss(quantizedIn.get(model) ?? new Set()),
    async rank(open) {
      rankings += 1;
      return ranking.filter((id) => open.includes(id));
    },
    progress() {},
  });
  const quantized = quantizedIn.get(result.model);
  expect(units.filter((id) => !quantized?.has(id)).sort()).toEqual([...result.reverted].sort());
  expect(result.score).toBe(loss(quantized ?? new Set()));
  return { ...result, built, rankings };
}

const sumOf =
  (harm: Readonly<Record<string, number>>) =>
  (quantized: ReadonlySet<string>): number =>
    [...quantized].reduce((sum, id) => sum + (harm[id] ?? 0), 0);

const harms = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 });
const named = (values: readonly number[]): Record<string, number> => Object.fromEntries(values.map((value, at) => [`u${at}`, value]));

describe('accuracy control', () => {
  it('reverts nothing, and ranks nothing, when the limit holds from the start', async () => {
    expect(await control({ units: ['a', 'b'], loss: () => 1, limit: 1 })).toMatchObject({
      reverted: [],
      met: true,
      trials: 1,
      rankings: 0,
    });
  });

  it('of units whose harm adds up, ranked rightly, reverts the fewest that meet the limit', async () => {
    await fc.assert(
      fc.asyncProperty(harms, fc.integer({ min: 0, max: 100 }), async (values, limit) => {
        const harm = named(values);
        const units = Object.keys(harm);
        const ranking = units.toSorted((a, b) => (harm[b] ?? 0) - (harm[a] ?? 0));
        const result = await control({ units, loss: sumOf(harm), ranking, limit });
        const descending = values.toSorted((a, b) => b - a);
        const fewest = descending.findIndex((_, count) => descending.slice(count).reduce((a, b) => a + b, 0) <= limit);
        expect(result.met).toBe(true);
        expect(result.reverted).toHaveLength(fewest < 0 ? values.length : fewest);
      }),
    );
  });

  it('meets every limit that the float model meets, whatever the losses and the ranking, and else keeps the best model it saw', async () => {
    const table = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 32, maxLength: 32 });
    const order = fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e']);
    await fc.assert(
      fc.asyncProperty(table, order, fc.integer({ min: 0, max: 30 }), async (losses, ranking, limit) => {
        const units = ['a', 'b', 'c', 'd', 'e'];
        const lossOf = (quantized: ReadonlySet<string>): number =>
          losses[units.reduce((index, id, bit) => index + (quantized.has(id) ? 2 ** bit : 0), 0)] ?? Number.NaN;
        const result = await control({ units, loss: lossOf, ranking, limit });
        const seen = result.built.map((reverted) => lossOf(new Set(units.filter((id) => !reverted.includes(id)))));
        expect(result.met).toBe(result.score <= limit);
        if (!result.met) expect(result.score).toBe(Math.min(...seen));
        if (lossOf(new Set()) <= limit) expect(result.met).toBe(true);
        // With every unit tried on every best model, twice at most: no loop without end.
        expect(result.trials).toBeLessThanOrEqual(2 + 2 * (5 + 4 + 3 + 2 + 1) + 5);
      }),
    );
  });

  it('finds units that hurt only together, in two tolerated steps', async () => {
    const together = (quantized: ReadonlySet<string>): number =>
      (quantized.has('a') || quantized.has('b') ? 5 : 0) + (quantized.has('c') ? 1 : 0);
    const result = await control({ units: ['c', 'a', 'b'], loss: together, ranking: ['a', 'b', 'c'], limit: 1 });
    expect(result).toMatchObject({ met: true, rankings: 1 });
    expect(result.reverted).toEqual(['a', 'b']);
  });

  it('undoes two steps in vain, ranks the rest anew, and leaves no unit in float that did not need it', async () => {
    const loss = sumOf({ useful: 3 });
    const result = await control({ units: ['x', 'y', 'useful'], loss, ranking: ['x', 'y', 'useful'], limit: 0 });
    expect(result.reverted).toEqual(['useful']);
    expect(result.rankings).toBeGreaterThan(1);
  });

  it('ends with the best model and says that the limit was missed when even the float model misses it', async () => {
    const loss = (quantized: ReadonlySet<string>): number => 10 + (quantized.has('a') ? 4 : 0) + (quantized.has('b') ? Number.NaN : 0);
    const result = await control({ units: ['a', 'b'], loss: (quantized) => loss(quantized) || 99, limit: 5 });
    expect(result).toMatchObject({ score: 10, met: false });
    expect([...result.reverted].sort()).toEqual(['a', 'b']);
  });

  it('takes an output that is no number as the worst', async () => {
    const result = await control({ units: ['a', 'b'], loss: sumOf({ a: 1, b: 1 }), limit: 1 });
    expect(result.met).toBe(true);
    const broken = await controlAccuracy({
      units: [{ id: 'a' }],
      limit: 0,
      signal: new AbortController().signal,
      build: async (reverted) => Object.assign(new Model(new Graph()), { producerName: [...reverted].join() }),
      score: async ({ producerName }) => (producerName === 'a' ? 3 : Number.NaN),
      rank: async (units) => units,
      progress() {},
    });
    expect(broken).toMatchObject({ score: 3, reverted: ['a'], met: false });
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const loss = (quantized: ReadonlySet<string>): number => {
      if (quantized.size === 2) controller.abort(new Error('enough'));
      return quantized.size;
    };
    await expect(control({ units: ['a', 'b', 'c'], loss, limit: 0, signal: controller.signal })).rejects.toThrow('enough');
  });
});
