/** The emulation of x64 without VNNI, on whatever processor the test runs: what saturates, what does not, and what it refuses. */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openEmulated } from '../../../../services/engine/emulation/index.js';
import {
  attributeOf,
  float32Tensor,
  float32Values,
  integerValues,
  type Model,
  type Tensor,
  tensorOf,
} from '../../../../services/engine/ir/index.js';
import { encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildGraph, buildModel, type GraphSpec } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const uint8 = (dims: readonly number[], codes: readonly number[]): Tensor => tensorOf('uint8', dims, Uint8Array.from(codes));
const int8 = (dims: readonly number[], codes: readonly number[]): Tensor => tensorOf('int8', dims, Int8Array.from(codes));

async function answer(model: Model, feeds: Record<string, Tensor>): Promise<Map<string, Tensor>> {
  const scratch = join(await temporaryFolder(), 'emulation');
  await mkdir(scratch);
  const session = await openEmulated(createOrtRuntime({ scratch, threads: 1 }), model, { scratch });
  try {
    return await session.run(new Map(Object.entries(feeds)));
  } finally {
    await session.close();
    expect(await readdir(scratch)).toEqual([]);
  }
}

/** y = x w, in int32. */
function product(weights: Tensor): Model {
  return buildModel({
    inputs: [{ name: 'x', dataType: 'uint8', shape: ['rows', weights.dims[0] ?? 0] }],
    outputs: [{ name: 'y', dataType: 'int32', shape: null }],
    constants: { w: weights },
    nodes: [{ opType: 'MatMulInteger', inputs: ['x', 'w'], outputs: ['y'] }],
  });
}

async function sums(weights: Tensor, codes: readonly number[]): Promise<number[]> {
  const results = await answer(product(weights), { x: uint8([codes.length / 4, 4], codes) });
  return integerValues(results.get('y') ?? int8([0], []));
}

describe('emulation of x64 without VNNI', () => {
  it('cuts the sum of two neighbours off at the ends of int16, and sums of strangers not at all', async () => {
    const all = [255, 255, 255, 255];
    expect(await sums(int8([4, 1], [127, 127, 0, 0]), all)).toEqual([32_767]);
    expect(await sums(int8([4, 1], [-127, -127, 0, 0]), all)).toEqual([-32_768]);
    expect(await sums(int8([4, 1], [127, 0, 127, 0]), all)).toEqual([2 * 255 * 127]);
    expect(await sums(int8([4, 1], [127, 127, 127, 127]), all)).toEqual([2 * 32_767]);
    expect(await sums(int8([4, 1], [127, -127, 127, -127]), all)).toEqual([0]);
  });

  it('leaves unsigned weights exact: their kernel widens', async () => {
    expect(await sums(uint8([4, 1], [255, 255, 255, 255]), [255, 255, 255, 255])).toEqual([4 * 255 * 255]);
  });

  it('reads weights that lie in a file beside the model', async () => {
    const [scratch, folder] = [await temporaryFolder(), await temporaryFolder()];
    const path = join(folder, 'model.onnx');
    const files = encodeModelFile(product(int8([1028, 1], Array(1028).fill(127))), path, { externalThresholdBytes: 0 });
    expect(files).toHaveLength(2);
    const session = await openEmulated(createOrtRuntime({ scratch, threads: 1 }), path, { scratch });
    const results = await session.run(new Map([['x', uint8([1, 1028], Array(1028).fill(255))]]));
    expect(integerValues(results.get('y') ?? int8([0], []))).toEqual([514 * 32_767]);
    await session.close();
  });

  it('takes any number of rows, and other numbers in later runs', async () => {
    const scratch = await temporaryFolder();
    const session = await openEmulated(createOrtRuntime({ scratch, threads: 1 }), product(int8([4, 1], [127, 127, 1, 0])), { scratch });
    for (const rows of [1, 3]) {
      const codes = Array.from({ length: rows }, () => [255, 255, 1, 0]).flat();
      const results = await session.run(new Map([['x', uint8([rows, 4], codes)]]));
      expect(integerValues(results.get('y') ?? int8([0], []))).toEqual(Array.from({ length: rows }, () => 32_768));
    }
    await expect(session.run(new Map([['x', uint8([1, 3], [0, 0, 0])]]))).rejects.toMatchObject({ code: 'dataset_invalid' });
    await session.close();
  });

  it('computes float operators before, between and behind saturating products as the runtime does', async () => {
    const quantize = ['s', 'z'];
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['rows', 2] }],
      outputs: [
        { name: 'y', shape: ['rows', 1] },
        { name: 'aside', shape: ['rows', 2] },
      ],
      constants: {
        s: float32Tensor([], [1]),
        z: uint8([], [0]),
        w1: int8([2, 2], [127, 1, 127, 0]),
        w2: int8([2, 1], [1, 0]),
        shrink: float32Tensor([], [0.001]),
        wz: int8([], [0]),
      },
      nodes: [
        { opType: 'Abs', inputs: ['x'], outputs: ['positive'] },
        { opType: 'Neg', inputs: ['positive'], outputs: ['aside'] },
        { opType: 'QuantizeLinear', inputs: ['positive', ...quantize], outputs: ['q1'] },
        { opType: 'MatMulIntegerToFloat', domain: 'com.microsoft', inputs: ['q1', 'w1', 's', 's', 'z', 'wz'], outputs: ['h'] },
        { opType: 'Mul', inputs: ['h', 'shrink'], outputs: ['small'] },
        { opType: 'QuantizeLinear', inputs: ['small', ...quantize], outputs: ['q2'] },
        { opType: 'MatMulIntegerToFloat', domain: 'com.microsoft', inputs: ['q2', 'w2', 's', 's', 'z', 'wz'], outputs: ['y'] },
      ],
    });
    const results = await answer(model, { x: float32Tensor([1, 2], [-255, 255]) });
    // 255 * 254 saturates to 32,767; a thousandth of it rounds to 33.
    expect(float32Values(results.get('y') ?? float32Tensor([0], []))).toEqual(Float32Array.of(33));
    expect(float32Values(results.get('aside') ?? float32Tensor([0], []))).toEqual(Float32Array.of(-255, -255));
  });

  /** If(c) then x w else x, where the branches read x and w from outside. */
  function branching(): Model {
    const outer: GraphSpec = {
      inputs: [
        { name: 'c', dataType: 'bool', shape: [] },
        { name: 'x', dataType: 'uint8', shape: [1, 2] },
      ],
      outputs: [{ name: 'y', dataType: 'int32', shape: null }],
      constants: { w: int8([2, 1], [127, 127]) },
      nodes: [],
    };
    const model = buildModel(outer);
    const known = new Map([...model.graph.inputs, ...model.graph.initializers.keys()].map((value) => [value.name, value]));
    const saturating = buildGraph(
      {
        outputs: [{ name: 'p', dataType: 'int32', shape: null }],
        nodes: [{ opType: 'MatMulInteger', inputs: ['x', 'w'], outputs: ['p'] }],
      },
      known,
    );
    const plain = buildGraph(
      {
        outputs: [{ name: 'n', dataType: 'int32', shape: null }],
        nodes: [{ opType: 'Cast', inputs: ['x'], outputs: ['n'], attributes: { to: attributeOf.int(6) } }],
      },
      known,
    );
    const graph = buildGraph({
      ...outer,
      nodes: [
        {
          opType: 'If',
          inputs: ['c'],
          outputs: ['y'],
          attributes: { then_branch: attributeOf.graph(saturating), else_branch: attributeOf.graph(plain) },
        },
      ],
    });
    // The branches captured the values of the first graph, so the If moves there.
    const [node] = graph.nodes;
    const [condition = null] = model.graph.inputs;
    if (!node) throw new Error('the If is missing');
    graph.remove([node]);
    node.setInput(0, condition);
    model.graph.append(node);
    const [output = null] = node.outputs;
    model.graph.outputs.splice(0, 1, ...(output ? [output] : []));
    return model;
  }

  it.each([
    ['saturates in the branch that is taken', true, [32_767]],
    ['does nothing in the other branch', false, [255, 255]],
  ] as const)('%s', async (_, condition, expected) => {
    const feeds = { c: tensorOf('bool', [], Uint8Array.of(condition ? 1 : 0)), x: uint8([1, 2], [255, 255]) };
    const results = await answer(branching(), feeds);
    expect(integerValues(results.get('y') ?? int8([0], []))).toEqual(expected);
  });

  it('refuses an operator whose saturation it cannot compute, and says what to do instead', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [1, 1, 2] }],
      outputs: [{ name: 'y', shape: null }],
      constants: {
        ...{
          w: int8(
            [1, 2, 4],
            Array.from({ length: 8 }, () => 127),
          ),
          r: int8([1, 1, 4], [1, 1, 1, 1]),
        },
        ...{ s: float32Tensor([1], [0.01]), z: int8([1], [0]) },
      },
      nodes: [
        {
          opType: 'DynamicQuantizeLSTM',
          domain: 'com.microsoft',
          name: 'lstm',
          inputs: ['x', 'w', 'r', '', '', '', '', '', 's', 'z', 's', 'z'],
          outputs: ['y'],
          attributes: { hidden_size: attributeOf.int(1) },
        },
      ],
    });
    const scratch = await temporaryFolder();
    await expect(openEmulated(createOrtRuntime({ scratch }), model, { scratch })).rejects.toMatchObject({
      code: 'model_unsupported',
      message: expect.stringContaining('quantize it anew for target x64'),
    });
    expect(await readdir(scratch)).toEqual([]);
  });
});
