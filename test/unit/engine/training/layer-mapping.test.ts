/** The map from the layers of a student to those of its teacher: the best of all ordered assignments. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributeOf, type Graph, type Value } from '../../../../services/engine/ir/index.js';
import { type MappedNetwork, mapLayers } from '../../../../services/engine/training/layer-mapping.js';
import { ModelBuilder, noise } from '../quantization/method-fixtures.js';

/** Layers one after the other with outputs of these widths; the last one is the output of the network. */
function chain(name: string, widths: readonly number[]): MappedNetwork {
  const builder = new ModelBuilder();
  const shapes = new Map<string, readonly number[]>();
  let value: Value = builder.input('x', ['n', widths[0] ?? 1]);
  let width = widths[0] ?? 1;
  for (const [at, next] of [...widths, 3].entries()) {
    value = builder.node('MatMul', [value, builder.constant(`${name}${at}`, noise([width, next], at))]);
    value.name = `${name}/${at}`;
    shapes.set(value.name, [8, next]);
    width = next;
  }
  return { graph: builder.output(value, ['n', 3]).graph, shapes };
}

const sameWidth = (a: readonly number[], b: readonly number[]): boolean => a[1] === b[1];
const depthIn = (graph: Graph, name: string): number => (Number(name.split('/')[1]) + 1) / graph.nodes.length;

/** Every ordered assignment, by recursion. */
function assignments(student: readonly string[], teacher: readonly string[]): [string, string][][] {
  const [own, ...others] = student;
  if (own === undefined) return [[]];
  const taken = teacher.flatMap((name, at) =>
    assignments(others, teacher.slice(at + 1)).map((rest): [string, string][] => [[own, name], ...rest]),
  );
  return [...assignments(others, teacher), ...taken];
}

describe('mapLayers', () => {
  test('has as many pairs as possible, at the least difference of depth', () => {
    const widths = fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(widths, widths, (few, many) => {
        const [student, teacher] = [chain('s', few), chain('t', many)];
        const width = ({ shapes }: MappedNetwork, name: string): readonly number[] => shapes.get(name) ?? [];
        const allowed = assignments(
          few.map((_, at) => `s/${at}`),
          many.map((_, at) => `t/${at}`),
        ).filter((pairs) => pairs.every(([own, other]) => sameWidth(width(student, own), width(teacher, other))));
        const cost = (pairs: readonly (readonly [string, string])[]): number =>
          pairs.reduce((sum, [own, other]) => sum + Math.abs(depthIn(student.graph, own) - depthIn(teacher.graph, other)), 0);
        const most = Math.max(...allowed.map(({ length }) => length));
        const least = Math.min(...allowed.filter(({ length }) => length === most).map(cost));
        const found = mapLayers(student, teacher, sameWidth).map((pair) => [pair.student, pair.teacher] as const);
        expect(found).toHaveLength(most);
        expect(cost(found)).toBeCloseTo(least, 9);
        expect(allowed.map((pairs) => JSON.stringify(pairs))).toContain(JSON.stringify(found));
      }),
    );
  });

  test('a network is mapped to itself', () => {
    const network = chain('a', [2, 2, 2, 2]);
    expect(mapLayers(network, network, sameWidth)).toEqual([0, 1, 2, 3].map((at) => ({ student: `a/${at}`, teacher: `a/${at}` })));
  });

  test('values inside a residual branch are left out, its sum is not', () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 2, 4, 4]);
    const conv = (input: Value, name: string) =>
      builder.node('Conv', [input, builder.constant(name, noise([2, 2, 3, 3], 3))], { pads: attributeOf.ints([1, 1, 1, 1]) });
    const stem = builder.node('Relu', [conv(x, 'a')]);
    const inner = conv(stem, 'b');
    const sum = builder.node('Add', [inner, stem]);
    const head = conv(sum, 'c');
    const { graph } = builder.output(head, null);
    const shapes = new Map([stem, inner, sum, head].map(({ name }) => [name, [1, 2, 4, 4]]));
    const network = { graph, shapes };
    expect(mapLayers(network, network, () => true).map(({ student }) => student)).toEqual([stem.name, sum.name]);
  });
});
