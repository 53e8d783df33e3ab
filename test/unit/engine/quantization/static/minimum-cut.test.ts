import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlowNetwork } from '../../../../../services/engine/quantization/static/minimum-cut.js';

interface Arc {
  readonly from: number;
  readonly to: number;
  readonly capacity: number;
}

const VERTICES = 6;
const arc = fc.record({ from: fc.nat(VERTICES - 1), to: fc.nat(VERTICES - 1), capacity: fc.nat(20) });

function capacityOf(side: ReadonlySet<number>, arcs: readonly Arc[]): number {
  return arcs.reduce((sum, { from, to, capacity }) => (side.has(from) && !side.has(to) ? sum + capacity : sum), 0);
}

/** Source 0, sink 1, all divisions of the others. */
function leastCapacity(arcs: readonly Arc[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (let mask = 0; mask < 2 ** (VERTICES - 2); mask += 1) {
    const side = new Set([0, ...Array.from({ length: VERTICES - 2 }, (_, at) => at + 2).filter((vertex) => mask & (1 << (vertex - 2)))]);
    least = Math.min(least, capacityOf(side, arcs));
  }
  return least;
}

describe('minimum cut', () => {
  it('finds a division of least capacity, as trying all divisions does', () => {
    fc.assert(
      fc.property(fc.array(arc, { maxLength: 20 }), (arcs) => {
        const network = new FlowNetwork();
        for (let vertex = 0; vertex < VERTICES; vertex += 1) network.vertex();
        for (const { from, to, capacity } of arcs) network.arc(from, to, capacity);
        const side = network.cut(0, 1);
        expect(side.has(0)).toBe(true);
        expect(capacityOf(side, arcs)).toBe(leastCapacity(arcs));
        expect(side.has(1)).toBe(false);
      }),
    );
  });
});
