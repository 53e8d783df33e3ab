/** Topological order and copies of graphs. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  attributeOf,
  CycleError,
  capturedValues,
  cloneModel,
  float32Tensor,
  Graph,
  graphsWithin,
  Model,
  Node,
  sortTopologically,
  topologicalOrder,
  Value,
  verifyModel,
} from '../../../../services/engine/ir/index.js';

/** A random acyclic graph of `size` nodes in which node i reads earlier ones, every third from inside a branch. */
function randomGraph(size: number, choices: readonly number[]): Graph {
  const graph = new Graph('random');
  const values = [new Value('v0')];
  graph.inputs.push(...values);
  for (let i = 1; i <= size; i++) {
    const source = values[(choices[i] ?? 0) % values.length] ?? null;
    const out = new Value(`v${i}`);
    if (i % 3 === 0) {
      const body = new Graph(`body${i}`);
      const inner = new Value(`inner${i}`);
      body.append(new Node({ opType: 'Neg', inputs: [source], outputs: [inner] }));
      body.outputs.push(inner);
      graph.append(new Node({ opType: 'If', inputs: [], outputs: [out], attributes: { then_branch: attributeOf.graph(body) } }));
    } else graph.append(new Node({ opType: 'Neg', inputs: [source], outputs: [out] }));
    values.push(out);
  }
  const last = values.at(-1);
  if (last) graph.outputs.push(last);
  return graph;
}

const graphs = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.array(fc.nat(), { minLength: 31, maxLength: 31 }));

describe('topological order', () => {
  test('a sorted graph keeps its order', () => {
    fc.assert(
      fc.property(graphs, ([size, choices]) => {
        const graph = randomGraph(size, choices);
        expect(topologicalOrder(graph)).toEqual([...graph.nodes]);
      }),
    );
  });

  test('a shuffled graph verifies after sorting, values captured by branches counted', () => {
    fc.assert(
      fc.property(graphs, fc.infiniteStream(fc.nat()), ([size, choices], random) => {
        const graph = randomGraph(size, choices);
        const keys = new Map(graph.nodes.map((node) => [node, random.next().value]));
        graph.reorder([...graph.nodes].sort((a, b) => Number(keys.get(a)) - Number(keys.get(b))));
        sortTopologically(graph);
        verifyModel(new Model(graph));
      }),
    );
  });

  test('a cycle through a branch is found', () => {
    const graph = new Graph('cyclic');
    const [a, b] = [new Value('a'), new Value('b')];
    const body = new Graph('body');
    body.outputs.push(b);
    graph.append(new Node({ opType: 'If', inputs: [], outputs: [a], attributes: { then_branch: attributeOf.graph(body) } }));
    graph.append(new Node({ opType: 'Neg', inputs: [a], outputs: [b] }));
    expect(() => topologicalOrder(graph)).toThrow(CycleError);
  });
});

test('captured values are those a subgraph reads or returns but does not make, nested ones included', () => {
  const [a, b, c] = [new Value('a'), new Value('b'), new Value('c')];
  const innermost = new Graph('innermost');
  innermost.append(new Node({ opType: 'Add', inputs: [a, c], outputs: [new Value('d')] }));
  const body = new Graph('body');
  body.inputs.push(c);
  body.append(new Node({ opType: 'If', inputs: [], outputs: [], attributes: { then_branch: attributeOf.graph(innermost) } }));
  body.outputs.push(b);
  const loop = new Node({ opType: 'Loop', inputs: [], outputs: [], attributes: { body: attributeOf.graph(body) } });
  expect(capturedValues(loop)).toEqual(new Set([b, a]));
});

describe('cloneModel', () => {
  test('gives a model of its own: same text, no shared nodes or values, shared weights', () => {
    fc.assert(
      fc.property(graphs, ([size, choices]) => {
        const graph = randomGraph(size, choices);
        const weight = float32Tensor([1], [1]);
        graph.addInitializer('w', weight);
        const original = new Model(graph);
        const copy = cloneModel(original);
        verifyModel(copy);
        verifyModel(original);
        const nodes = (model: Model) => [...graphsWithin(model.graph)].flatMap((each) => [...each.nodes]);
        const text = (model: Model) =>
          nodes(model).map((node) => [node.opType, node.inputs.map((v) => v?.name), node.outputs.map((v) => v?.name)]);
        expect(text(copy)).toEqual(text(original));
        const originals = new Set(nodes(original));
        expect(nodes(copy).some((node) => originals.has(node))).toBe(false);
        expect([...copy.graph.initializers.values()]).toEqual([weight]);
        expect([...copy.graph.initializers.values()][0]).toBe(weight);
      }),
    );
  });

  test('editing the copy leaves the original alone', () => {
    const original = new Model(
      randomGraph(
        9,
        Array.from({ length: 31 }, (_, i) => i),
      ),
    );
    const copy = cloneModel(original);
    copy.graph.outputs[0]?.producer?.setInput(0, copy.graph.inputs[0] ?? null);
    copy.metadata.set('edited', 'yes');
    verifyModel(original);
    expect(original.metadata.size).toBe(0);
    expect(original.graph.nodes).toHaveLength(9);
  });
});
