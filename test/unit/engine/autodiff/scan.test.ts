/** Scan against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, type Model, tensorOf, type Value } from '../../../../services/engine/ir/index.js';
import { buildGraph, buildModel, type GraphSpec, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

const [T, B, I, H] = [5, 2, 3, 4];

interface Case {
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Names of the inputs of Scan, and of its outputs. */
  readonly read: readonly string[];
  readonly made: readonly string[];
  readonly body: GraphSpec;
  readonly sequences: number;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

function scanModel({ inputs, read, made, body, sequences, attributes = {} }: Case): Model {
  const model = buildModel({
    inputs: Object.entries(inputs).map(([name, shape]) => ({ name, shape })),
    outputs: made.map((name) => ({ name, shape: null })),
    nodes: [
      { opType: 'Tanh', inputs: ['w'], outputs: ['tw'] },
      { opType: 'Scan', inputs: read, outputs: made, attributes: { ...attributes, num_scan_inputs: attributeOf.int(sequences) } },
    ],
  });
  const [tanh, node] = model.graph.nodes;
  const outer = new Map(
    [...model.graph.inputs, tanh?.outputs[0]].flatMap((value): [string, Value][] => (value ? [[value.name, value]] : [])),
  );
  node?.attributes.set('body', attributeOf.graph(buildGraph(body, outer)));
  return model;
}

async function check(each: Case): Promise<void> {
  const feeds = Object.fromEntries(Object.entries(each.inputs).map(([name, dims], at) => [name, weights(dims, at + 1)]));
  const checked = await checkGradients({ model: scanModel(each), feeds, elements: 30 });
  expect(checked).toHaveLength(Object.keys(each.inputs).length);
  for (const { error, largest } of checked) {
    expect(largest).toBeGreaterThan(0.02);
    expect(error).toBeLessThan(3e-3);
  }
}

/** s' = tanh(x W + s R + b), y = s' s: weights from outside, one of them computed there. */
const cell: GraphSpec = {
  inputs: [
    { name: 's', shape: [B, H] },
    { name: 'x_t', shape: [B, I] },
  ],
  outputs: [
    { name: 's_next', shape: [B, H] },
    { name: 'y_t', shape: [B, H] },
  ],
  nodes: [
    { opType: 'MatMul', inputs: ['x_t', 'tw'], outputs: ['from_x'] },
    { opType: 'Gemm', inputs: ['s', 'r', 'b'], outputs: ['from_s'] },
    { opType: 'Add', inputs: ['from_x', 'from_s'], outputs: ['sum'] },
    { opType: 'Tanh', inputs: ['sum'], outputs: ['s_next'] },
    { opType: 'Mul', inputs: ['s_next', 's'], outputs: ['y_t'] },
  ],
};
const parameters = { w: [I, H], r: [H, H], b: [H] };
const recurrent = (attributes: Readonly<Record<string, Attribute>> = {}, x: readonly number[] = [T, B, I]): Case => ({
  ...{ inputs: { ...parameters, s0: [B, H], x }, read: ['s0', 'x'], made: ['s', 'y'], body: cell, sequences: 1, attributes },
});

describe('Scan', () => {
  test('a recurrent layer', () => check(recurrent()));

  test('from the end', () => check(recurrent({ scan_input_directions: attributeOf.ints([1]) })));

  test('results turned round', () => check(recurrent({ scan_output_directions: attributeOf.ints([1]) })));

  test('along other axes', () =>
    check(recurrent({ scan_input_axes: attributeOf.ints([1]), scan_output_axes: attributeOf.ints([2]) }, [B, T, I])));

  test('only the last state is read', async () => {
    const model = scanModel(recurrent());
    model.graph.outputs.splice(1);
    const feeds = Object.fromEntries(Object.entries(recurrent().inputs).map(([name, dims], at) => [name, weights(dims, at + 1)]));
    for (const { error, largest } of await checkGradients({ model, feeds })) {
      expect(largest).toBeGreaterThan(0.02);
      expect(error).toBeLessThan(3e-3);
    }
  });

  test('two sequences in opposite directions, a counter among the states', async () => {
    const body: GraphSpec = {
      inputs: [
        { name: 's', shape: [B, H] },
        { name: 'count', dataType: 'int64', shape: [] },
        { name: 'a_t', shape: [B, H] },
        { name: 'b_t', shape: [B, H] },
      ],
      outputs: [
        { name: 's_next', shape: [B, H] },
        { name: 'count_next', dataType: 'int64', shape: [] },
        { name: 'a_out', shape: [B, H] },
      ],
      constants: { one: tensorOf('int64', [], BigInt64Array.of(1n)) },
      nodes: [
        { opType: 'Add', inputs: ['count', 'one'], outputs: ['count_next'] },
        { opType: 'Cast', inputs: ['count_next'], outputs: ['number'], attributes: { to: attributeOf.int(1) } },
        { opType: 'Mul', inputs: ['a_t', 'number'], outputs: ['scaled'] },
        { opType: 'Mul', inputs: ['s', 'b_t'], outputs: ['product'] },
        { opType: 'Mul', inputs: ['scaled', 'tw'], outputs: ['weighted'] },
        { opType: 'Add', inputs: ['product', 'weighted'], outputs: ['s_next'] },
        { opType: 'Identity', inputs: ['a_t'], outputs: ['a_out'] },
      ],
    };
    const inputs = { w: [H], s0: [B, H], a: [T, B, H], b: [T, B, H] };
    const model = scanModel({
      ...{ inputs, read: ['s0', 'w', 'a', 'b'], made: ['s', 'n', 'y'], body, sequences: 2 },
      attributes: { scan_input_directions: attributeOf.ints([0, 1]) },
    });
    const node = model.graph.nodes[1];
    node?.setInput(1, model.graph.addInitializer('zero', tensorOf('int64', [], BigInt64Array.of(0n))));
    const [s, count, y] = model.graph.outputs;
    if (count) count.type = null;
    if (s && y) model.graph.outputs.splice(0, 3, s, y);
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, dims], at) => [name, weights(dims, at + 1)]));
    for (const { error, largest } of await checkGradients({ model, feeds, elements: 30 })) {
      expect(largest).toBeGreaterThan(0.02);
      expect(error).toBeLessThan(3e-3);
    }
  });
});
