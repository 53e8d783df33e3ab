/** Guarantees of portions: everything in its order, nothing twice, and no more held than allowed. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { portions } from '../../../../services/engine/layers/portions.js';

const sizes = fc.array(fc.nat(20));

test('portions are the items in their order, within the bound unless one alone is above it, and as large as they can be', () => {
  fc.assert(
    fc.property(sizes, fc.nat(30), (items, limit) => {
      const taken = [...portions(items, limit, (size) => size)];
      const held = taken.map((portion) => portion.reduce((sum, size) => sum + size, 0));
      expect(taken.flat()).toEqual(items);
      for (const [at, portion] of taken.entries()) {
        expect(portion.length).toBeGreaterThan(0);
        if (portion.length > 1) expect(held[at]).toBeLessThanOrEqual(limit);
        const [next] = taken[at + 1] ?? [];
        if (next !== undefined) expect((held[at] ?? 0) + next).toBeGreaterThan(limit);
      }
    }),
  );
});
