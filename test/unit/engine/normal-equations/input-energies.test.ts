import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, Node, Value } from '../../../../services/engine/ir/index.js';
import { convolutionWindow, gramMatrices } from '../../../../services/engine/normal-equations/gram-matrices.js';
import { inputEnergies } from '../../../../services/engine/normal-equations/input-energies.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

describe('inputEnergies', () => {
  it('are the diagonals of the normal equations, group by group', async () => {
    const builder = new ModelBuilder();
    const x = builder.node('Relu', [builder.input('x', ['n', 4, 5, 5])]);
    const weight = noise([6, 2, 3, 3], 1);
    const y = builder.node('Conv', [x, builder.constant('w', weight)], { group: attributeOf.int(2) });
    const { model } = builder.output(y);
    const node = model.graph.nodes.at(-1);
    if (!node) throw new Error('no node');
    const layers = [{ activation: x.name, depth: 18, window: convolutionWindow(node, weight.dims), key: 'layer' }];
    const request = { model, layers, samples: samplesOf('x', noise([70, 4, 5, 5], 2)), context: contextFor('measured') };
    const energies = (await inputEnergies(request)).get('layer');
    const gram = (await gramMatrices(request)).get('layer');
    expect(energies).toMatchObject({ groups: 2, depth: 18, rows: gram?.rows });
    expect(energies?.squares.length).toBe(36);
    for (const [at, square] of energies?.squares.entries() ?? []) {
      const diagonal = gram?.gram[Math.floor(at / 18) * 324 + (at % 18) * 19] ?? Number.NaN;
      expect(Math.abs(square / diagonal - 1)).toBeLessThan(1e-5);
    }
  });
});

describe('rows that are the states of a recurrent layer', () => {
  it.each([false, true])('are those of all steps and sequences, each direction a group; batch first: %s', async (batchFirst) => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 6, 3]);
    const read = batchFirst ? x : builder.node('Transpose', [x], { perm: attributeOf.ints([1, 0, 2]) });
    const weights = [builder.constant('W', noise([2, 20, 3], 1)), builder.constant('R', noise([2, 20, 5], 2))];
    const attributes = { hidden_size: attributeOf.int(5), direction: attributeOf.string('bidirectional') };
    const y = new Value('Y', { kind: 'tensor', dataType: 'float32', shape: null });
    const node = new Node({ opType: 'LSTM', name: 'lstm', inputs: [read, ...weights], outputs: [y], attributes });
    builder.graph.append(node);
    // The runtime has no LSTM with the batch first: a Transpose behind one makes the same Y.
    const states = batchFirst ? batchFirstStates(builder, node) : y;
    const { model } = builder.output(states);
    const samples = noise([9, 6, 3], 3);
    const layers = [{ activation: states.name, depth: 5, states: { directions: 2, batchFirst }, key: 'R' }];
    const gram = (await gramMatrices({ model, layers, samples: samplesOf('x', samples), context: contextFor('measured') })).get('R');
    const [values] = await outputsOf(model, { x: samples });
    expect(gram).toMatchObject({ groups: 2, depth: 5, rows: 54 });
    const sums = new Float64Array(50);
    for (let row = 0; row < 54; row += 1) {
      for (const direction of [0, 1]) {
        // Y: [steps, directions, batch, hidden], or [batch, steps, directions, hidden].
        const [outer, inner] = [Math.floor(row / 9), row % 9];
        const start = batchFirst ? (row * 2 + direction) * 5 : ((outer * 2 + direction) * 9 + inner) * 5;
        for (let i = 0; i < 5; i += 1) {
          for (let j = 0; j < 5; j += 1) {
            const at = direction * 25 + i * 5 + j;
            sums[at] = (sums[at] ?? 0) + (values?.[start + i] ?? 0) * (values?.[start + j] ?? 0);
          }
        }
      }
    }
    for (const [at, sum] of sums.entries()) expect(Math.abs((gram?.gram[at] ?? Number.NaN) - sum)).toBeLessThan(1e-4);
  });
});

function batchFirstStates(builder: ModelBuilder, node: Node): Value {
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!x || !y) throw new Error('no layer');
  const first = new Node({
    opType: 'Transpose',
    name: 'steps_first',
    inputs: [x],
    outputs: [new Value('steps_first')],
    attributes: { perm: attributeOf.ints([1, 0, 2]) },
  });
  builder.graph.insertBefore(node, first);
  node.setInput(0, first.outputs[0] ?? null);
  return builder.node('Transpose', [y], { perm: attributeOf.ints([2, 0, 1, 3]) });
}
