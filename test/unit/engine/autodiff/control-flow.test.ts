/** Conditionals against central differences, on both sides of their conditions. */
import { describe, expect, test } from 'vitest';
import { attributeOf, type Graph, type Model, tensorOf, type Value } from '../../../../services/engine/ir/index.js';
import { buildGraph, buildModel, type GraphSpec, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

const [N, D] = [3, 4];
const dims = [N, D];

type Branch = (outer: ReadonlyMap<string, Value>) => Graph;
const branch =
  (spec: GraphSpec): Branch =>
  (outer) =>
    buildGraph(spec, outer);

/** x, w [N, D] and b [D] are inputs, `flag` chooses. `outputs` of the conditional are graph outputs. */
function conditional(thenBranch: Branch, elseBranch: Branch, outputs: readonly string[] = ['y']): Model {
  const model = buildModel({
    inputs: [
      { name: 'flag', dataType: 'bool', shape: [] },
      { name: 'x', shape: dims },
      { name: 'w', shape: dims },
      { name: 'b', shape: [D] },
    ],
    outputs: outputs.map((name) => ({ name, shape: dims })),
    nodes: [
      { opType: 'Mul', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'If', inputs: ['flag'], outputs: [...outputs] },
    ],
  });
  const [product, node] = model.graph.nodes;
  const outer = new Map([...model.graph.inputs, product?.outputs[0]].flatMap((value) => (value ? [[value.name, value] as const] : [])));
  node?.attributes.set('then_branch', attributeOf.graph(thenBranch(outer)));
  node?.attributes.set('else_branch', attributeOf.graph(elseBranch(outer)));
  return model;
}

const tanhBranch = branch({
  outputs: [{ name: 'then_y', shape: dims }],
  nodes: [
    { opType: 'Add', inputs: ['h', 'b'], outputs: ['sum'] },
    { opType: 'Tanh', inputs: ['sum'], outputs: ['then_y'] },
  ],
});
const scaledBranch = branch({
  outputs: [{ name: 'else_y', shape: dims }],
  constants: { two: weights([D], 9) },
  nodes: [
    { opType: 'Mul', inputs: ['x', 'two'], outputs: ['scaled'] },
    { opType: 'Mul', inputs: ['scaled', 'h'], outputs: ['else_y'] },
  ],
});
const directBranch = branch({
  outputs: [{ name: 'same', shape: dims }],
  nodes: [{ opType: 'Identity', inputs: ['h'], outputs: ['same'] }],
});
const nestedBranch: Branch = (outer) => {
  const graph = buildGraph(
    { outputs: [{ name: 'nested_y', shape: dims }], nodes: [{ opType: 'If', inputs: ['flag'], outputs: ['nested_y'] }] },
    outer,
  );
  const [node] = graph.nodes;
  node?.attributes.set('then_branch', attributeOf.graph(tanhBranch(outer)));
  node?.attributes.set('else_branch', attributeOf.graph(scaledBranch(outer)));
  return graph;
};
const twoOutputs = (prefix: string, opType: string): Branch =>
  branch({
    outputs: [
      { name: `${prefix}_first`, shape: dims },
      { name: `${prefix}_second`, shape: dims },
    ],
    nodes: [
      { opType, inputs: ['h'], outputs: [`${prefix}_first`] },
      { opType: 'Mul', inputs: [`${prefix}_first`, 'x'], outputs: [`${prefix}_second`] },
    ],
  });

const cases = [
  { name: 'branches that read different values', make: () => conditional(tanhBranch, scaledBranch) },
  { name: 'a branch that hands an outer value on', make: () => conditional(directBranch, scaledBranch) },
  { name: 'a conditional in a branch', make: () => conditional(nestedBranch, nestedBranch) },
  { name: 'several outputs', make: () => conditional(twoOutputs('then', 'Sin'), twoOutputs('else', 'Exp'), ['y', 'z']) },
].flatMap((each) => [true, false].map((flag) => ({ ...each, flag })));

describe('If', () => {
  test.each(cases)('$name, condition $flag', async ({ make, flag }) => {
    const feeds = {
      flag: tensorOf('bool', [], Uint8Array.of(flag ? 1 : 0)),
      ...{ x: weights(dims, 1), w: weights(dims, 2), b: weights([D], 3) },
    };
    const model = declared(make());
    const checked = await checkGradients({ model, feeds, wrt: ['x', 'w', 'b'] });
    expect(checked[0]?.largest).toBeGreaterThan(0.05);
    expect(checked[1]?.largest).toBeGreaterThan(0.05);
    for (const { error } of checked) expect(error).toBeLessThan(2e-3);
  });
});

/** Sizes in branches that are not taken come from the model itself. */
function declared(model: Model): Model {
  const visit = (graph: Graph): void => {
    for (const node of graph.nodes) {
      for (const value of node.outputs) if (value) value.type ??= { kind: 'tensor', dataType: 'float32', shape: dims };
      node.subgraphs.forEach(visit);
    }
  };
  visit(model.graph);
  return model;
}
