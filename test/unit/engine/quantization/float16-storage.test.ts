import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, float32Tensor, float32Values, Graph, Node, tensorOf, Value } from '../../../../services/engine/ir/index.js';
import { decodeModelFile } from '../../../../services/engine/onnx/index.js';
import { float16Storage } from '../../../../services/engine/quantization/float16-storage.js';
import { contextFor, ModelBuilder, noise, operators, outputsOf, removeScratch, runtime, scratch } from './method-fixtures.js';

afterAll(removeScratch);
const context = contextFor('measured');

describe('float16-storage', () => {
  it('halves the weights, keeps the computation in float32 and each weight within 2^-11 of itself', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [16, 16]);
    const weight = noise([16, 16], 1);
    const model = builder.output(builder.node('Add', [x, builder.constant('w', weight)])).model;
    const changes = await float16Storage(model, {}, context);
    expect(changes).toMatchObject([{ node: 'Add_0', action: 'changed', by: 'float16-storage' }]);
    expect([...model.graph.initializers.values()].map(({ dataType }) => dataType)).toEqual(['float16']);
    const [y] = await outputsOf(model, { x: float32Tensor([16, 16], new Float32Array(256)) });
    for (const [at, value] of float32Values(weight).entries()) {
      expect(Math.abs((y?.[at] ?? Number.NaN) - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -11, 2 ** -25));
    }
  });

  it('costs nothing at run time: the runtime folds the widening when it loads the model', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 16]);
    const model = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([16, 16], 1))])).model;
    await float16Storage(model, {}, context);
    expect(operators(model)).toEqual(['Cast', 'MatMul']);
    const path = join(scratch, 'folded.onnx');
    const session = await runtime.open(model, { optimization: 'extended', optimizedModelPath: path });
    await session.close();
    expect(operators(decodeModelFile(path))).toEqual(['MatMul']);
  });

  it('converts a weight that several nodes share once, and weights inside Constant nodes and branches', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [16, 16]);
    const condition = builder.input('condition', [], 'bool');
    const shared = builder.constant('w', noise([16, 16], 1));
    const constant = builder.node('Constant', [], { value: attributeOf.tensor(noise([16, 16], 2)) });
    const sum = builder.node('Add', [builder.node('MatMul', [x, shared]), builder.node('MatMul', [constant, shared])]);
    const branch = (name: string): Graph => {
      const graph = new Graph(name);
      const output = new Value(`${name}_y`, { kind: 'tensor', dataType: 'float32', shape: [16, 16] });
      graph.append(new Node({ opType: 'Mul', inputs: [sum, graph.addInitializer(`${name}_w`, noise([16, 16], 3))], outputs: [output] }));
      graph.outputs.push(output);
      return graph;
    };
    const attributes = { then_branch: attributeOf.graph(branch('a')), else_branch: attributeOf.graph(branch('b')) };
    const model = builder.output(builder.node('If', [condition], attributes), [16, 16]).model;
    const feeds = { x: noise([16, 16], 5), condition: tensorOf('bool', [], Uint8Array.of(1)) };
    const [before] = await outputsOf(model, feeds);
    await float16Storage(model, {}, context);
    expect(operators(model).filter((name) => name === 'Cast' || name === 'Constant')).toEqual(['Cast', 'Cast']);
    const [after] = await outputsOf(model, feeds);
    for (const [at, value] of (before ?? []).entries()) expect(after?.[at]).toBeCloseTo(value, 1);
  });

  it('leaves what float16 cannot hold, what is excluded and what is too small to matter', async () => {
    const reasonFor = async (values: Float32Array, options = {}): Promise<string | undefined> => {
      const builder = new ModelBuilder();
      const x = builder.input('x', [values.length]);
      builder.output(builder.node('Add', [x, builder.constant('w', float32Tensor([values.length], values))]));
      const [change] = await float16Storage(builder.model, options, context);
      expect(operators(builder.model)).toEqual(['Add']);
      return change?.reason;
    };
    const ordinary = float32Values(noise([200], 1));
    expect(await reasonFor(ordinary.with(3, 65_520))).toMatch(/beyond the largest float16/);
    expect(await reasonFor(ordinary.with(3, Number.NaN))).toMatch(/not a finite number/);
    expect(await reasonFor(ordinary.map((value) => value * 1e-7))).toMatch(/too small for float16/);
    expect(await reasonFor(ordinary, { exclude: ['Add_*'] })).toMatch(/excluded/);
    expect(await reasonFor(ordinary, { min_elements: 201 })).toBeUndefined();
  });
});
