/** Sums of a fit over two networks in one graph, against the rows of both computed here. */
import { afterAll, describe, expect, it } from 'vitest';
import { cloneModel, float32Values, type Model, type Value, verifyModel } from '../../../../services/engine/ir/index.js';
import { fitSums } from '../../../../services/engine/normal-equations/fit-sums.js';
import { joinModels } from '../../../../services/engine/normal-equations/joined-models.js';
import type { ProbeGraph } from '../../../../services/engine/normal-equations/probe-graph.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

const [depth, outputs, samples] = [3, 2, 150] as const;

function layer(seed: number): Model {
  const builder = new ModelBuilder();
  const x = builder.node('Relu', [builder.input('x', ['n', depth])]);
  return builder.output(builder.node('MatMul', [x, builder.constant('w', noise([depth, outputs], seed))])).model;
}

describe('joinModels', () => {
  it('gives the outputs of both for the same feeds, the names of the first kept', async () => {
    const [first, second] = [layer(1), layer(2)];
    const { model, nameInSecond } = joinModels(first, second);
    const name = second.graph.outputs[0]?.name ?? '';
    const twin = model.graph.nodes.flatMap((node) => node.outputs).find((value) => value?.name === nameInSecond(name));
    if (!twin) throw new Error('the second model has no output in the joined graph');
    twin.type = { kind: 'tensor', dataType: 'float32', shape: null };
    model.graph.outputs.push(twin);
    verifyModel(model);
    const x = noise([4, depth], 3);
    const [alone] = await outputsOf(first, { x });
    const [other] = await outputsOf(second, { x });
    expect(await outputsOf(model, { x })).toEqual([alone, other]);
    expect(nameInSecond('x')).toBe('x');
  });

  it('joins a model with itself', () => {
    const model = layer(1);
    const { model: joined } = joinModels(model, cloneModel(model));
    verifyModel(joined);
    expect(joined.graph.nodes).toHaveLength(2 * model.graph.nodes.length);
    expect(joined.graph.inputs.map(({ name }) => name)).toEqual(['x']);
  });
});

describe('fitSums', () => {
  it('sums the products of the rows of one network with the difference of both, all rows and those held out', async () => {
    const [first, second] = [layer(1), layer(2)];
    const { model, nameInSecond } = joinModels(first, second);
    const [rows = '', output = ''] = [first.graph.nodes[0]?.outputs[0]?.name, first.graph.outputs[0]?.name];
    const upright = (probe: ProbeGraph, name: string): Value => {
      const value = probe.value(name);
      if (!value) throw new Error(name);
      return probe.transpose(probe.reshape(value, [1, -1, outputs]), [0, 2, 1]);
    };
    const error = (probe: ProbeGraph): Value => probe.node('Sub', [upright(probe, nameInSecond(output)), upright(probe, output)]);
    const values = noise([samples, depth], 5);
    const request = { model, samples: samplesOf('x', values), context: contextFor('measured'), withGram: true };
    const found = (await fitSums({ ...request, layers: [{ activation: rows, depth, key: 'layer', outputs, error }] })).get('layer');
    if (!found) throw new Error('no sums');
    const x = float32Values(values).map((value) => Math.max(0, value));
    const [before = new Float32Array()] = await outputsOf(first, { x: values });
    const [after = new Float32Array()] = await outputsOf(second, { x: values });
    const e = after.map((value, at) => value - (before[at] ?? 0));
    // Runs have 64 samples: the second one is held out.
    for (const [sums, from, to] of [
      [found.all, 0, samples],
      [found.heldOut, 64, 128],
    ] as const) {
      expect(sums.rows).toBe(to - from);
      for (let k = 0; k < depth; k += 1) {
        for (let o = 0; o < outputs; o += 1) {
          let sum = 0;
          for (let row = from; row < to; row += 1) sum += (x[row * depth + k] ?? 0) * (e[row * outputs + o] ?? 0);
          expect(sums.cross[k * outputs + o]).toBeCloseTo(sum, 3);
        }
        for (let j = 0; j < depth; j += 1) {
          let sum = 0;
          for (let row = from; row < to; row += 1) sum += (x[row * depth + k] ?? 0) * (x[row * depth + j] ?? 0);
          expect(sums.gram[k * depth + j]).toBeCloseTo(sum, 3);
        }
      }
      for (let o = 0; o < outputs; o += 1) {
        let [sum, square] = [0, 0];
        for (let row = from; row < to; row += 1) {
          sum += e[row * outputs + o] ?? 0;
          square += (e[row * outputs + o] ?? 0) ** 2;
        }
        expect(sums.errors[o]).toBeCloseTo(sum, 3);
        expect(sums.squares[o]).toBeCloseTo(square, 3);
      }
    }
  });

  it('counts the rows that there are, whatever sizes the file declares for what it computes', async () => {
    const [first, second] = [layer(1), layer(2)];
    for (const { graph } of [first, second]) {
      const [stale] = graph.nodes[0]?.outputs ?? [];
      if (stale) stale.type = { kind: 'tensor', dataType: 'float32', shape: [128, depth] };
    }
    const { model, nameInSecond } = joinModels(first, second);
    const [activation = '', output = ''] = [first.graph.nodes[0]?.outputs[0]?.name, first.graph.outputs[0]?.name];
    const error = (probe: ProbeGraph): Value => {
      const value = probe.value(nameInSecond(output));
      if (!value) throw new Error(output);
      return probe.transpose(probe.reshape(value, [1, -1, outputs]), [0, 2, 1]);
    };
    const request = { model, samples: samplesOf('x', noise([samples, depth], 5)), context: contextFor('measured'), withGram: true };
    const found = (await fitSums({ ...request, layers: [{ activation, depth, key: 'layer', outputs, error }] })).get('layer');
    expect(found?.all.rows).toBe(samples);
  });

  it('keeps the rows themselves where there are fewer than inputs', async () => {
    const builder = new ModelBuilder();
    const wide = 12;
    const x = builder.node('Relu', [builder.input('x', ['n', wide])]);
    const { model } = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([wide, outputs], 1))]));
    const values = noise([wide - 2, wide], 5);
    const error = (probe: ProbeGraph): Value => {
      const value = probe.value(model.graph.outputs[0]?.name ?? '');
      if (!value) throw new Error('no output');
      return probe.transpose(probe.reshape(value, [1, -1, outputs]), [0, 2, 1]);
    };
    const request = { model, samples: samplesOf('x', values), context: contextFor('measured'), withGram: true };
    const found = (await fitSums({ ...request, layers: [{ activation: x.name, depth: wide, key: 'layer', outputs, error }] })).get('layer');
    const [block] = found?.all.blocks ?? [];
    expect(found?.all.gram).toHaveLength(0);
    expect(block?.count).toBe(wide - 2);
    const rows = float32Values(values);
    const expected = Array.from({ length: wide * (wide - 2) }, (_, at) =>
      Math.max(0, rows[(at % (wide - 2)) * wide + Math.floor(at / (wide - 2))] ?? 0),
    );
    expect([...(block?.values ?? [])]).toEqual(expected);
  });
});
