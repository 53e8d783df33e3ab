/** The order of lowering against its definition, and how far it is followed. */
import { expect, test } from 'vitest';
import { longestWithin } from '../../../../services/engine/precision/budget-search.js';
import { loweringOrder, type TensorWidths, widthsAfter } from '../../../../services/engine/precision/lowering-order.js';

const widths = [16, 8, 6, 4] as const;
const sizes: Readonly<Record<string, number>> = { small: 1, large: 10 };
const cost = (chosen: ReadonlyMap<string, number>): number => [...chosen].reduce((sum, [name, bits]) => sum + (sizes[name] ?? 0) * bits, 0);
const tensors: TensorWidths[] = [
  { name: 'small', widths, noise: [0, 0.001, 0.02, 0.5] },
  { name: 'large', widths, noise: [0, 0.001, 0.1, 0.3] },
];

test('takes the step with the largest saving for the noise that it adds, every time', () => {
  const steps = loweringOrder(tensors, cost);
  expect(steps.map(({ name, from, to }) => [name, from, to])).toEqual([
    ['large', 16, 8],
    ['small', 16, 8],
    ['large', 8, 6],
    ['small', 8, 6],
    ['large', 6, 4],
    ['small', 6, 4],
  ]);
  expect(steps[0]).toMatchObject({ saved: 80, noise: 0.001 });
  expect(widthsAfter(steps, 3)).toEqual(
    new Map([
      ['large', 6],
      ['small', 8],
    ]),
  );
});

test('passes over widths that save nothing: words of 8 bits', () => {
  const inWords = (chosen: ReadonlyMap<string, number>): number =>
    cost(new Map([...chosen].map(([name, bits]) => [name, bits > 8 ? 16 : 8])));
  expect(loweringOrder(tensors, inWords).map(({ to }) => to)).toEqual([8, 8]);
});

test.each([0, 1, 2, 7, 40, 99, 100])('the longest run within a budget is found where %d steps hold', async (holding) => {
  const built: number[] = [];
  const found = await longestWithin({
    steps: 100,
    noise: async (count) => 2 ** (count / 10),
    build: async (count) => {
      built.push(count);
      return count;
    },
    loss: async (count) => (2 ** (count / 10) - 1) / (2 ** (holding / 10) - 1 + 1e-9),
    budget: 1,
    builds: 8,
    firstNoise: 10,
  });
  expect(found.count).toBeLessThanOrEqual(holding);
  expect(found.count).toBeGreaterThanOrEqual(Math.min(holding, holding - 2));
  expect(built.length).toBeLessThanOrEqual(9);
});
