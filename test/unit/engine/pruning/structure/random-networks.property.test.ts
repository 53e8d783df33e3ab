/** Property: whatever the network and whatever goes, the pruned model computes what the masked original does, and keeps its interface. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blockNames, makeNetwork, randomNetwork } from '../../../../support/random-networks/index.js';
import { analyzed, chosenUnits, expectExact, outputsOf, prunedCopy } from './pruning-oracle.js';

/** LATHE_PRUNING_CASES=1000 for the benchmark's number of cases. */
const cases = Number(process.env.LATHE_PRUNING_CASES ?? 120);

describe('random networks', () => {
  test('pruned exact groups give the outputs of the masked original, approximate ones keep all shapes', {
    timeout: cases * 1000,
  }, async () => {
    let removed = 0;
    await fc.assert(
      fc.asyncProperty(
        randomNetwork,
        fc.double({ min: 0.1, max: 0.9, noNaN: true }),
        fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
        async ({ model, feeds }, share, stream) => {
          const random = (): number => stream.next().value;
          const structure = await analyzed(model, feeds);
          const exact = chosenUnits(
            structure.groups.filter(({ approximate }) => approximate === undefined),
            share,
            random,
          );
          await expectExact(structure, exact, feeds);
          removed += exact.length;
          const approximate = structure.groups.filter((group) => group.approximate !== undefined);
          if (approximate.length === 0) return;
          const { outputs } = await prunedCopy(structure, chosenUnits(structure.groups, share, random), feeds);
          for (const [name, { dims }] of await outputsOf(model, feeds)) expect(outputs.get(name)?.dims, name).toEqual(dims);
        },
      ),
      { numRuns: cases, seed: 20_261_127 },
    );
    // Networks of which nothing could go would prove nothing.
    expect(removed).toBeGreaterThan(3 * cases);
  });

  test('every block of the generator stands in a network of which something can go', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 400 && seen.size < blockNames.length; seed += 1) {
      const { blocks, model, feeds } = makeNetwork(seed);
      if (blocks.every((name) => seen.has(name))) continue;
      const { groups } = await analyzed(model, feeds);
      if (groups.length > 0) for (const name of blocks) seen.add(name);
    }
    expect([...seen].sort()).toEqual([...new Set(blockNames)].sort());
  });
});
