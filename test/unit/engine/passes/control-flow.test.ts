/** Clean-up inside and around If and Loop: constant conditions are inlined, bodies are cleaned, outer values stay visible. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, type Graph, int64Tensor, tensorOf, Value } from '../../../../services/engine/ir/index.js';
import { buildGraph, buildModel, type GraphSpec } from '../../../support/build-model.js';
import { cleaned, expectSameOutputs, operators } from './clean-up-oracle.js';

const y = { name: 'y', shape: null };

/** A model with one If on `c`; the branches capture `x`. `c` is a constant when `condition` is given. */
function conditional(thenSpec: GraphSpec, elseSpec: GraphSpec, condition?: boolean) {
  const x = new Value('x', { kind: 'tensor', dataType: 'float32', shape: ['n', 2] });
  const model = buildModel({ inputs: [], outputs: [], nodes: [] });
  const { graph } = model;
  const c =
    condition === undefined
      ? new Value('c', { kind: 'tensor', dataType: 'bool', shape: [] })
      : graph.addInitializer('c', tensorOf('bool', [], Uint8Array.of(Number(condition))));
  graph.inputs.push(x);
  if (condition === undefined) graph.inputs.push(c);
  const outer = new Map([['x', x]]);
  const branch = (spec: GraphSpec): Graph => buildGraph(spec, outer);
  const built = buildGraph(
    {
      outputs: [y],
      nodes: [
        {
          opType: 'If',
          inputs: ['c'],
          outputs: ['picked'],
          attributes: { then_branch: attributeOf.graph(branch(thenSpec)), else_branch: attributeOf.graph(branch(elseSpec)) },
        },
        { opType: 'Neg', inputs: ['picked'], outputs: ['y'] },
      ],
    },
    new Map([['c', c]]),
  );
  const nodes = [...built.nodes];
  built.remove(nodes);
  graph.append(...nodes);
  for (const node of nodes) for (const [index, input] of node.inputs.entries()) node.setInput(index, input);
  for (const inner of nodes.flatMap((node) => node.subgraphs.flatMap((subgraph) => [...subgraph.nodes]))) {
    for (const [index, input] of inner.inputs.entries()) inner.setInput(index, input);
  }
  graph.outputs.push(...built.outputs);
  return model;
}

const doubled: GraphSpec = {
  outputs: [{ name: 't', shape: null }],
  constants: { k: float32Tensor([], [2]) },
  nodes: [{ opType: 'Mul', inputs: ['x', 'k'], outputs: ['t'] }],
};
const shifted: GraphSpec = {
  outputs: [{ name: 'e', shape: null }],
  constants: { k: float32Tensor([], [3]) },
  nodes: [
    { opType: 'Identity', inputs: ['x'], outputs: ['same'] },
    { opType: 'Add', inputs: ['same', 'k'], outputs: ['e'] },
  ],
};

describe('control flow', () => {
  test.each([true, false])('a condition that is always %s leaves its branch in place of the If', async (condition) => {
    const result = await cleaned(conditional(doubled, shifted, condition));
    expect(operators(result.after)).toEqual(condition ? ['Mul', 'Neg'] : ['Add', 'Neg']);
    await expectSameOutputs(result, [{ n: 1 }, { n: 3 }], 0);
  });

  test('branches of a condition that varies are cleaned where they are', async () => {
    const result = await cleaned(conditional(doubled, shifted));
    expect(operators(result.after)).toEqual(['Add', 'If', 'Mul', 'Neg']);
    await expectSameOutputs(result, [{ n: 1 }, { n: 3 }, { n: 2 }], 0);
  });

  test('a branch that returns an outer value keeps the Identity that makes its output', async () => {
    const passing: GraphSpec = { outputs: [{ name: 'p', shape: null }], nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['p'] }] };
    const result = await cleaned(conditional(passing, doubled));
    expect(operators(result.after)).toEqual(['Identity', 'If', 'Mul', 'Neg']);
    await expectSameOutputs(result, [{ n: 1 }, { n: 3 }], 0);
  });

  test('shape knowledge passes into a branch', async () => {
    const ranked: GraphSpec = {
      outputs: [{ name: 'r', shape: null }],
      constants: { two: int64Tensor([], [2]), axis: int64Tensor([1], [0]) },
      nodes: [
        { opType: 'Shape', inputs: ['x'], outputs: ['s'] },
        { opType: 'Size', inputs: ['s'], outputs: ['rank'] },
        { opType: 'Cast', inputs: ['rank'], outputs: ['f'], attributes: { to: attributeOf.int(1) } },
        { opType: 'Mul', inputs: ['x', 'f'], outputs: ['r'] },
      ],
    };
    const result = await cleaned(conditional(ranked, doubled));
    expect(operators(result.after)).toEqual(['If', 'Mul', 'Mul', 'Neg']);
    await expectSameOutputs(result, [{ n: 1 }, { n: 3 }], 0);
  });

  test('a loop keeps its trip count, its carried values and what its body draws from outside', async () => {
    const body = buildGraph({
      inputs: [
        { name: 'i', dataType: 'int64', shape: [] },
        { name: 'go', dataType: 'bool', shape: [] },
        { name: 'acc', shape: null },
      ],
      outputs: [
        { name: 'go_out', dataType: 'bool', shape: [] },
        { name: 'acc_out', shape: null },
      ],
      constants: { zero: float32Tensor([], [0]), step: float32Tensor([], [1.5]) },
      nodes: [
        { opType: 'Identity', inputs: ['go'], outputs: ['go_out'] },
        { opType: 'Add', inputs: ['acc', 'zero'], outputs: ['same'] },
        { opType: 'Mul', inputs: ['same', 'step'], outputs: ['acc_out'] },
      ],
    });
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n'] }],
      outputs: [y],
      constants: { trips: int64Tensor([], [3]), go0: tensorOf('bool', [], Uint8Array.of(1)) },
      nodes: [{ opType: 'Loop', inputs: ['trips', 'go0', 'x'], outputs: ['y'], attributes: { body: attributeOf.graph(body) } }],
    });
    const result = await cleaned(model);
    expect(operators(result.after)).toContain('Loop');
    await expectSameOutputs(result, [{ n: 1 }, { n: 4 }], 0);
  });
});
