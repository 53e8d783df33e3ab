/** Weights that several layers share, that lie in branches, of recurrent layers, of embeddings. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Values, Graph, type Model, Node, Value } from '../../../../services/engine/ir/index.js';
import { sparsity } from '../../../../services/engine/sparsity/index.js';
import { ModelBuilder, noise, outputsOf, removeScratch, sqnr } from '../quantization/method-fixtures.js';
import { gramOf } from './correlated-inputs.js';
import { contextWith, innerOutput, sequences, weightsOf, written, zeroCount } from './sparse-models.js';

afterAll(removeScratch);

const everything = { protect_ends: false } as const;

describe('weights that are read in a special way', () => {
  it('prunes a weight that two layers share once, on the inputs of both', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 12]);
    const w = builder.constant('w', noise([12, 12], 1));
    const first = builder.node('Relu', [builder.node('MatMul', [x, w])]);
    const second = builder.node('MatMul', [first, w]);
    const { model } = builder.output(second, ['n', 12]);
    const samples = noise([40, 12], 5);
    const before = weightsOf(model).get('w') ?? new Float32Array();
    const [hidden] = await Promise.all([innerOutput(model, 'Relu_1_out', samples)]);
    const { layers = [] } = await sparsity(model, { ...everything, criterion: 'wanda' }, contextWith(samples));
    const after = weightsOf(model).get('w') ?? new Float32Array();
    const grams = [gramOf(float32Values(samples), 12), gramOf(hidden ?? new Float32Array(), 12)];
    for (let output = 0; output < 12; output += 1) {
      const scores = Array.from(
        { length: 12 },
        (_, k) => Math.abs(before[k * 12 + output] ?? 0) * Math.sqrt(grams.reduce((sum, gram) => sum + (gram[k * 13] ?? 0), 0)),
      );
      const stay = [...scores.keys()].sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0)).slice(0, 6);
      expect([...scores.keys()].filter((k) => after[k * 12 + output] !== 0)).toEqual(stay.sort((a, b) => a - b));
    }
    expect(layers.map(({ nonzeros_after }) => nonzeros_after)).toEqual([72, undefined]);
  });

  it('prunes inside branches by magnitude, and says why', async () => {
    const model = branchingModel();
    const { nodes } = await sparsity(model, { ...everything }, contextWith(noise([16, 6], 2)));
    const line = nodes.find(({ node }) => node === 'inner');
    expect(line).toMatchObject({ action: 'changed', reason: expect.stringMatching(/by magnitude, as its inputs cannot be seen/) });
    const [then] = model.graph.nodes.flatMap(({ subgraphs }) => subgraphs);
    expect(zeroCount(float32Values([...(then?.initializers.values() ?? [])][0] ?? noise([1], 0)))).toBe(18);
  });
});

describe('recurrent layers', () => {
  it.each([
    { op: 'LSTM', gates: 4 },
    { op: 'GRU', gates: 3 },
    { op: 'RNN', gates: 1 },
  ])('prunes both weights of $op in both directions on the inputs and the states', async ({ op, gates }) => {
    for (const given of [
      { layout: 0, states: true },
      { layout: 0, states: false },
    ]) {
      const noises: number[] = [];
      for (const criterion of ['magnitude', 'sparsegpt'] as const) {
        const model = recurrentModel(op, gates, given);
        const [before] = await outputsOf(model, { x: sequences(32) });
        const { nodes, layers = [] } = await sparsity(model, { ...everything, pattern: '2:4', criterion }, contextWith(sequences(60)));
        const after = weightsOf(written(model));
        for (const name of ['W', 'R']) {
          const values = after.get(name) ?? new Float32Array();
          for (let at = 0; at < values.length; at += 4) expect(values.subarray(at, at + 4).filter((value) => value !== 0).length).toBe(2);
        }
        expect(nodes[0]?.reason.split('; ').every((each) => each.endsWith(`by ${criterion}`))).toBe(true);
        expect(layers[0]?.sqnr_local_db).toBeGreaterThan(0);
        expect(model.graph.nodes.find(({ opType }) => opType === op)?.outputs[0] === null).toBe(!given.states);
        const [output] = await outputsOf(model, { x: sequences(32) });
        noises.push(sqnr(before ?? new Float32Array(), output ?? new Float32Array()));
      }
      expect(noises[1]).toBeGreaterThan((noises[0] ?? 0) + 1);
    }
  });
});

describe('embedding tables', () => {
  const tied = (): Model => {
    const builder = new ModelBuilder();
    const table = builder.constant('table', noise([600, 16], 4));
    const rows = builder.node('Gather', [table, builder.input('ids', ['n'], 'int64')]);
    const hidden = builder.node('Relu', [builder.node('MatMul', [rows, builder.constant('w', noise([16, 16], 6))])]);
    const transposed = builder.node('Transpose', [table], { perm: attributeOf.ints([1, 0]) });
    return builder.output(builder.node('MatMul', [hidden, transposed]), ['n', 600]).model;
  };

  it('stay dense, those that the last product shares, too', async () => {
    const model = tied();
    const before = weightsOf(model).get('table');
    const { nodes } = await sparsity(model, everything, contextWith());
    expect([...(weightsOf(model).get('table') ?? [])]).toEqual([...(before ?? [])]);
    expect(zeroCount(weightsOf(model).get('w'))).toBe(128);
    expect(nodes.find(({ op_type }) => op_type === 'Gather')?.reason).toContain('"embeddings": true');
    expect(nodes.find(({ node }) => node === 'MatMul_4')?.reason).toContain('also needed dense by Gather');
  });

  it('are pruned once where the recipe says so', async () => {
    const model = tied();
    const { layers = [] } = await sparsity(model, { ...everything, embeddings: true }, contextWith());
    expect(zeroCount(weightsOf(model).get('table'))).toBe(4800);
    expect(layers.filter(({ nonzeros_after }) => nonzeros_after === 4800).length).toBe(1);
  });
});

function branchingModel(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 6]);
  const condition = builder.node('Not', [
    builder.constant('no', {
      ...noise([], 0),
      dataType: 'bool',
      data: { byteLength: 1, read: () => Uint8Array.of(0), chunks: () => [Uint8Array.of(0)] },
    }),
  ]);
  const branch = (name: string, node: (graph: Graph, output: Value) => Node): Graph => {
    const graph = new Graph(name);
    const output = new Value(`${name}_out`, { kind: 'tensor', dataType: 'float32', shape: null });
    graph.append(node(graph, output));
    graph.outputs.push(output);
    return graph;
  };
  const then_branch = branch(
    'then',
    (graph, output) =>
      new Node({ opType: 'MatMul', name: 'inner', inputs: [x, graph.addInitializer('w', noise([6, 6], 3))], outputs: [output] }),
  );
  const else_branch = branch('else', (_, output) => new Node({ opType: 'Identity', name: 'same', inputs: [x], outputs: [output] }));
  const y = builder.node('If', [condition], { then_branch: attributeOf.graph(then_branch), else_branch: attributeOf.graph(else_branch) });
  return builder.output(y, ['n', 6]).model;
}

/** x [batch, steps, 8] through a recurrent layer in both directions to its last state; `states`: the states of all steps are used, too. */
function recurrentModel(op: string, gates: number, { states }: { readonly states: boolean }): Model {
  const builder = new ModelBuilder();
  const hidden = 8;
  const x = builder.node('Transpose', [builder.input('x', ['n', 6, 8])], { perm: attributeOf.ints([1, 0, 2]) });
  const weight = (name: string, depth: number, seed: number) => builder.constant(name, noise([2, gates * hidden, depth], seed, 0.6));
  const [y, last] = [new Value('Y'), new Value('Y_h')];
  const attributes = { hidden_size: attributeOf.int(hidden), direction: attributeOf.string('bidirectional') };
  builder.graph.append(
    new Node({
      opType: op,
      name: 'rnn',
      inputs: [x, weight('W', 8, 1), weight('R', hidden, 2)],
      outputs: [states ? y : null, last],
      attributes,
    }),
  );
  return builder.output(
    states
      ? builder.node('Add', [builder.node('ReduceMean', [y], { axes: attributeOf.ints([0]), keepdims: attributeOf.int(0) }), last])
      : last,
  ).model;
}
