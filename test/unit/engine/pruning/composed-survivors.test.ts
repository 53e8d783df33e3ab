/** What remains after two prunings, against taking the elements twice. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { composeSurvivors } from '../../../../services/engine/pruning/composed-survivors.js';
import type { KeptRows, Survivors } from '../../../../services/engine/pruning/structure/pruning-structure.js';

const subset = (size: number, count: number) =>
  fc
    .shuffledSubarray(
      Array.from({ length: size }, (_, at) => at),
      { minLength: count, maxLength: count },
    )
    .map((chosen) => chosen.sort((a, b) => a - b));

const survivors = (axes: Readonly<Record<number, KeptRows>>): Survivors =>
  new Map([['w', new Map(Object.entries(axes).map(([axis, kept]) => [Number(axis), kept] as const))]]);

describe('survivors of two prunings', () => {
  test('name the elements that are left when both are applied in turn', () => {
    fc.assert(
      fc.property(fc.tuple(subset(9, 6), subset(6, 4)), ([first, second]) => {
        const original = Array.from({ length: 9 }, (_, at) => 100 + at);
        const twice = second.map((index) => original[first[index] ?? -1]);
        const composed =
          composeSurvivors(survivors({ 0: [first] }), survivors({ 0: [second] }))
            .get('w')
            ?.get(0)?.[0] ?? [];
        expect(composed.map((index) => original[index])).toEqual(twice);
      }),
    );
  });

  test('are taken row by row where rows lose other indices, also where those of one row all come before those of the next', () => {
    fc.assert(
      fc.property(fc.tuple(subset(8, 3), subset(8, 3), subset(3, 2), subset(3, 2)), ([a, b, c, d]) => {
        const composed = composeSurvivors(survivors({ 1: [a, b] }), survivors({ 1: [c, d] }))
          .get('w')
          ?.get(1);
        expect(composed).toEqual([c.map((index) => a[index]), d.map((index) => b[index])]);
      }),
    );
  });

  test('keep what only one of the two changed', () => {
    const first = new Map([['a', new Map([[0, [[0, 2]]]])]]);
    const second = new Map([
      ['a', new Map([[1, [[1, 3]]]])],
      ['b', new Map([[0, [[4]]]])],
    ]);
    expect(composeSurvivors(first, second)).toEqual(
      new Map([
        [
          'a',
          new Map([
            [0, [[0, 2]]],
            [1, [[1, 3]]],
          ]),
        ],
        ['b', new Map([[0, [[4]]]])],
      ]),
    );
  });
});
