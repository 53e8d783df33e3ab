/** The trunk: against a search that takes each value away and looks whether the outputs can still be reached. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, type Graph, int64Tensor, type Value } from '../../../../services/engine/ir/index.js';
import { layerEnds, trunkOf } from '../../../../services/engine/layers/trunk.js';
import { ModelBuilder, noise } from '../quantization/method-fixtures.js';

const names = (values: readonly { readonly value: Value }[]): string[] => values.map(({ value }) => value.name);

/** `layers` products of the input, then nodes that add two of what is there, or take one further. */
function randomGraph(layers: number, readings: readonly (readonly [number, number])[]): Graph {
  const builder = new ModelBuilder();
  const x = builder.input('x', [1, 4]);
  const weight = builder.constant('w', noise([4, 4], 1));
  const made = Array.from({ length: layers }, () => builder.node('MatMul', [x, weight]));
  for (const [first, second] of readings) {
    const [a, b] = [made[first % made.length] as Value, made[second % made.length] as Value];
    made.push(a === b ? builder.node('Relu', [a]) : builder.node('Add', [a, b]));
  }
  const [last] = made.slice(-1);
  return last ? builder.output(last, [1, 4]).graph : builder.graph;
}

/** Whether a layer reaches the output when nothing passes through `without`. */
function isReachable(graph: Graph, without: Value): boolean {
  const reached = new Set<Value>();
  for (const { opType, inputs, outputs } of graph.nodes) {
    const [output] = outputs;
    if (output && output !== without && (opType === 'MatMul' || inputs.some((input) => input && reached.has(input)))) reached.add(output);
  }
  return graph.outputs.some((output) => reached.has(output));
}

describe('trunkOf', () => {
  test('is what the outputs cannot be reached without', () => {
    const readings = fc.array(fc.tuple(fc.nat(50), fc.nat(50)), { minLength: 1, maxLength: 14 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), readings, (layers, choices) => {
        const graph = randomGraph(layers, choices);
        const all = graph.nodes.flatMap(({ outputs }) => outputs.flatMap((value) => value ?? []));
        const expected = all.filter((value) => !isReachable(graph, value));
        expect(names(trunkOf(graph))).toEqual(expected.map(({ name }) => name));
      }),
      { numRuns: 300 },
    );
  });

  test('masks, sizes and constants that go past the layers leave it as it is', () => {
    const builder = new ModelBuilder();
    const ids = builder.input('ids', ['n', 5], 'int64');
    const mask = builder.node('Unsqueeze', [builder.input('mask', ['n', 5]), builder.constant('last', int64Tensor([1], [2]))]);
    const tokens = builder.node('Gather', [builder.constant('tokens', noise([9, 4], 1)), ids]);
    const masked = builder.node('Mul', [tokens, mask]);
    const hidden = builder.node('MatMul', [masked, builder.constant('w', noise([4, 4], 2))]);
    const shaped = builder.node('Reshape', [hidden, builder.node('Shape', [tokens])]);
    const again = builder.node('Mul', [shaped, mask]);
    const { graph } = builder.output(again, null);
    expect(names(trunkOf(graph))).toEqual([tokens, masked, hidden, shaped, again].map(({ name }) => name));
    expect(trunkOf(graph).map(({ depth }) => depth)).toEqual([0.5, 0.5, 1, 1, 1]);
  });

  test('a layer ends behind its activation and before its pooling', () => {
    const builder = new ModelBuilder();
    const conv = builder.node('Conv', [builder.input('x', [1, 2, 4, 4]), builder.constant('w', noise([2, 2, 1, 1], 1))]);
    const relu = builder.node('Relu', [conv]);
    const pooled = builder.node('MaxPool', [relu], { kernel_shape: attributeOf.ints([2, 2]), strides: attributeOf.ints([2, 2]) });
    const next = builder.node('Conv', [pooled, builder.constant('v', float32Tensor([1, 2, 1, 1], [1, 2]))]);
    const { graph } = builder.output(next, [1, 1, 2, 2]);
    const shapes = new Map([
      [conv.name, [1, 2, 4, 4]],
      [relu.name, [1, 2, 4, 4]],
      [pooled.name, [1, 2, 2, 2]],
      [next.name, [1, 1, 2, 2]],
    ]);
    expect(names(layerEnds(trunkOf(graph), shapes))).toEqual([relu.name, next.name]);
  });
});
