/** Models at which onnxruntime 1.30 ends the process are loaded all the same, and answer as the operators say. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, type Model, type Shape, tensorOf } from '../../../../services/engine/ir/index.js';
import { encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { loadableModel } from '../../../../services/engine/runtime/loadable-model.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildGraph, buildModel, type NodeSpec } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const CODES = Int8Array.of(1, -2, 3, -4, 5, -6);
const SCALES = [0.5, 0.25, 2];
/** scale_r * code_rc, transposed: [2, 3]. */
const TRANSPOSED = [0, 1].flatMap((column) => SCALES.map((scale, row) => scale * (CODES[2 * row + column] ?? 0)));

const dequantize = (scale: string): NodeSpec => ({ opType: 'DequantizeLinear', inputs: ['w', scale], outputs: ['d'] });
const constants = { w: tensorOf('int8', [3, 2], CODES), s: float32Tensor([3], SCALES), one: float32Tensor([], [0.5]) };

/** y = x + transpose(dequantize(w)), [2, 3]. */
function transposing(between: readonly NodeSpec[], read: string): Model {
  const model = buildModel({
    inputs: [{ name: 'x', shape: [2, 3] }],
    outputs: [{ name: 'y', shape: [2, 3] }],
    constants,
    nodes: [
      dequantize('s'),
      ...between,
      { opType: 'Transpose', inputs: [read], outputs: ['t'] },
      { opType: 'Add', inputs: ['x', 't'], outputs: ['y'] },
    ],
  });
  for (const node of model.graph.nodes) if (node.opType === 'DequantizeLinear') node.attributes.set('axis', attributeOf.int(0));
  return model;
}

async function answer(model: Model | string): Promise<number[]> {
  const session = await createOrtRuntime({ scratch: await temporaryFolder(), threads: 1 }).open(model);
  try {
    const results = await session.run(new Map([['x', float32Tensor([2, 3], new Float32Array(6))]]));
    return [...results.values()].flatMap((tensor) => [...float32Values(tensor)]);
  } finally {
    await session.close();
  }
}

describe('a Transpose without perm behind a DequantizeLinear per channel', () => {
  test.each([
    ['directly', [], 'd'],
    ['behind an Identity that the runtime takes out', [{ opType: 'Identity', inputs: ['d'], outputs: ['e'] }], 'e'],
  ] as const)('%s', async (_, between, read) => {
    expect(await answer(transposing(between, read))).toEqual(TRANSPOSED);
  });

  test('in a file; the model that was given is not touched', async () => {
    const model = transposing([], 'd');
    const path = join(await temporaryFolder(), 'model.onnx');
    encodeModelFile(model, path);
    expect(await answer(path)).toEqual(TRANSPOSED);
    expect(loadableModel(model)).not.toBe(model);
    expect(model.graph.nodes.find(({ opType }) => opType === 'Transpose')?.attributes.size).toBe(0);
  });

  test('in a branch', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [2, 3] }],
      outputs: [{ name: 'y', shape: null }],
      constants: { ...constants, c: tensorOf('bool', [], Uint8Array.of(1)) },
      nodes: [{ opType: 'If', inputs: ['c'], outputs: ['y'] }],
    });
    const branch = transposing([], 'd').graph;
    const outer = new Map(model.graph.inputs.map((value) => [value.name, value]));
    branch.inputs.splice(0, 1);
    const [add] = branch.nodes.slice(-1);
    add?.setInput(0, outer.get('x') ?? null);
    const other = buildGraph(
      { outputs: [{ name: 'z', shape: null }], nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['z'] }] },
      outer,
    );
    const [choice] = model.graph.nodes;
    choice?.attributes.set('then_branch', { kind: 'graph', value: branch });
    choice?.attributes.set('else_branch', { kind: 'graph', value: other });
    expect(await answer(model)).toEqual(TRANSPOSED);
  });

  test('of an unknown number of axes is refused with what to do', () => {
    const shape: Shape | null = null;
    const model = buildModel({
      inputs: [{ name: 'w', dataType: 'int8', shape }],
      outputs: [{ name: 'y', shape }],
      constants: { s: constants.s },
      nodes: [dequantize('s'), { opType: 'Transpose', name: 'turn', inputs: ['d'], outputs: ['y'] }],
    });
    expect(() => loadableModel(model)).toThrow(/^The Transpose "turn" has no attribute perm .* Write the attribute perm\.$/);
  });
});

test('a model that loads is not copied', () => {
  const perTensor = buildModel({
    inputs: [{ name: 'x', shape: [2, 3] }],
    outputs: [{ name: 'y', shape: null }],
    constants,
    nodes: [
      dequantize('one'),
      { opType: 'Transpose', inputs: ['d'], outputs: ['t'] },
      { opType: 'Transpose', inputs: ['x'], outputs: ['u'] },
      { opType: 'MatMul', inputs: ['t', 'u'], outputs: ['y'] },
    ],
  });
  expect(loadableModel(perTensor)).toBe(perTensor);
});
