/** Shapes of intermediate values: inferred without weights where that works, observed where sizes depend on data. */
import { readdir } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, type Model, type Tensor, tensorOf, Value } from '../../../../services/engine/ir/index.js';
import { observeShapes } from '../../../../services/engine/runtime/observe-shapes.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { trace, withOutputs } from '../../../../services/engine/runtime/trace.js';
import { buildGraph, buildModel, classifier, weights } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

async function observe(model: Model, feeds: Record<string, Tensor>) {
  const scratch = await temporaryFolder();
  const observed = await observeShapes(createOrtRuntime({ scratch }), { model, feeds: new Map(Object.entries(feeds)) });
  expect(await readdir(scratch)).toEqual([]);
  return observed;
}

describe('observeShapes', () => {
  test('symbolic axes take the sizes of the feeds', async () => {
    const { shapes, unknown } = await observe(classifier(), { x: float32Tensor([3, 16], new Float32Array(48)) });
    expect(shapes.get('h')).toEqual([3, 32]);
    expect(shapes.get('logits')).toEqual([3, 10]);
    expect(unknown).toEqual([]);
  });

  test('sizes that depend on the data are observed', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [6] }],
      outputs: [{ name: 'y', shape: null, dataType: 'int64' }],
      nodes: [
        { opType: 'NonZero', inputs: ['x'], outputs: ['n'] },
        { opType: 'Transpose', inputs: ['n'], outputs: ['y'] },
      ],
    });
    const { shapes } = await observe(model, { x: float32Tensor([6], [0, 1, 0, 2, 3, 0]) });
    expect(shapes.get('n')).toEqual([1, 3]);
    expect(shapes.get('y')).toEqual([3, 1]);
  });

  test('sequences between tensors do not hide the shapes of the tensors', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['n', 4] }],
      outputs: [{ name: 'y', shape: null }],
      nodes: [
        { opType: 'Relu', inputs: ['x'], outputs: ['r'] },
        { opType: 'SequenceConstruct', inputs: ['r', 'x'], outputs: ['s'] },
        { opType: 'ConcatFromSequence', inputs: ['s'], outputs: ['y'], attributes: { axis: attributeOf.int(1) } },
      ],
    });
    const { shapes, unknown } = await observe(model, { x: float32Tensor([2, 4], new Float32Array(8)) });
    expect([shapes.get('r'), shapes.get('y'), unknown]).toEqual([[2, 4], [2, 8], ['s']]);
  });

  test('a stale shape in the model does not win over the true one', async () => {
    const model = classifier();
    for (const value of model.graph.nodes.flatMap((node) => node.outputs)) {
      if (value?.name === 'h') value.type = { kind: 'tensor', dataType: 'float32', shape: [128, 32] };
    }
    const { shapes } = await observe(model, { x: float32Tensor([2, 16], new Float32Array(32)) });
    expect(shapes.get('h')).toEqual([2, 32]);
    expect(model.graph.nodes[0]?.outputs[0]?.type).toMatchObject({ shape: [128, 32] });
  });

  test('inside the body of a Scan the sizes of one step are seen', async () => {
    const body = buildGraph({
      inputs: [
        { name: 's', shape: null },
        { name: 'x_t', shape: null },
      ],
      outputs: [
        { name: 's_next', shape: null },
        { name: 'y_t', shape: null },
      ],
      nodes: [
        { opType: 'ReduceSum', inputs: ['x_t'], outputs: ['total'], attributes: { keepdims: attributeOf.int(0) } },
        { opType: 'Add', inputs: ['s', 'total'], outputs: ['s_next'] },
        { opType: 'Concat', inputs: ['x_t', 'x_t'], outputs: ['y_t'], attributes: { axis: attributeOf.int(0) } },
      ],
    });
    const attributes = { body: attributeOf.graph(body), num_scan_inputs: attributeOf.int(1), scan_output_axes: attributeOf.ints([1]) };
    const model = buildModel({
      inputs: [
        { name: 'first', shape: [3] },
        { name: 'x', shape: ['steps', 4] },
      ],
      outputs: [
        { name: 'last', shape: null },
        { name: 'y', shape: null },
      ],
      nodes: [{ opType: 'Scan', inputs: ['first', 'x'], outputs: ['last', 'y'], attributes }],
    });
    const { shapes, unknown } = await observe(model, { first: weights([3], 1), x: weights([5, 4], 2) });
    expect(['s', 'x_t', 'total', 's_next', 'y_t', 'y'].map((name) => shapes.get(name))).toEqual([[3], [4], [], [3], [8], [8, 5]]);
    expect(unknown).toEqual([]);
  });

  test('inside a branch the sizes of the branch that is taken are seen, the other stays unknown', async () => {
    const input = new Value('x', { kind: 'tensor', dataType: 'float32', shape: ['batch', 4] });
    const outer = new Map([['x', input]]);
    const branch = (name: string, width: number) =>
      buildGraph(
        {
          outputs: [{ name, shape: null }],
          constants: { [`${name}_w`]: weights([4, width]) },
          nodes: [{ opType: 'MatMul', inputs: ['x', `${name}_w`], outputs: [name] }],
        },
        outer,
      );
    const model = buildModel({
      inputs: [{ name: 'c', dataType: 'bool', shape: [] }],
      outputs: [{ name: 'y', shape: null }],
      nodes: [
        {
          opType: 'If',
          inputs: ['c'],
          outputs: ['y'],
          attributes: { then_branch: attributeOf.graph(branch('t', 5)), else_branch: attributeOf.graph(branch('e', 7)) },
        },
      ],
    });
    model.graph.inputs.push(input);
    const feeds = { x: float32Tensor([2, 4], new Float32Array(8)), c: tensorOf('bool', [], Uint8Array.of(0)) };
    const { shapes, unknown } = await observe(model, feeds);
    expect(shapes.get('e')).toEqual([2, 7]);
    expect(unknown).toEqual(['t']);
    expect(model.graph.nodes.map((node) => node.opType)).toEqual(['If']);
  });
});

describe('trace', () => {
  test('gives every chosen value once, in groups, equal to a run with all of them as outputs', async () => {
    const scratch = await temporaryFolder();
    const runtime = createOrtRuntime({ scratch });
    const model = classifier();
    const feeds = new Map([
      [
        'x',
        float32Tensor(
          [1, 16],
          Float32Array.from({ length: 16 }, (_, i) => Math.cos(i)),
        ),
      ],
    ]);
    const session = await runtime.open(withOutputs(model, ['h', 'r']), { optimization: 'disabled' });
    const expected = await session.run(feeds);
    await session.close();
    const seen = new Map<string, Tensor>();
    for await (const [name, value] of trace(runtime, { model, values: ['h', 'r', 'logits'], feeds, groupSize: 2 })) seen.set(name, value);
    expect([...seen.keys()]).toEqual(['h', 'r', 'logits']);
    for (const [name, value] of seen) expect(Buffer.from(value.data.read())).toEqual(Buffer.from(expected.get(name)?.data.read() ?? []));
    expect(model.graph.outputs).toHaveLength(1);
    expect(await readdir(scratch)).toEqual([]);
  });

  test('a name that the graph does not make is an error, not an empty answer', () => {
    expect(() => withOutputs(classifier(), ['nothing'])).toThrow(RangeError);
  });
});
