/** Convolutions on blocked kernels give what plain ones give, forward and backward. */
import { expect, test } from 'vitest';
import { blockConvolutions, vjp } from '../../../../services/engine/autodiff/index.js';
import { attributeOf, cloneModel, float32Values, NameAuthority, Value } from '../../../../services/engine/ir/index.js';
import { channelBlock } from '../../../../services/engine/runtime/channel-block.js';
import { observeShapes } from '../../../../services/engine/runtime/observe-shapes.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const same = { pads: attributeOf.ints([1, 1, 1, 1]) };
const halved = { ...same, strides: attributeOf.ints([2, 2]) };

/** Thin, whole, halved and cut blocks, an activation behind, and a map that two convolutions read. */
test('the forward pass and all gradients stay the same', async () => {
  const shapes = { x: [2, 3, 8, 8], w1: [16, 3, 3, 3], b1: [16], w2: [32, 16, 3, 3], w3: [32, 16, 1, 1], w4: [9, 32, 3, 3], b4: [9] };
  const conv = (inputs: string[], output: string, attributes = {}) => ({ opType: 'Conv', inputs, outputs: [output], attributes });
  const model = buildModel({
    inputs: Object.entries(shapes).map(([name, shape]) => ({ name, shape })),
    outputs: [{ name: 'y', shape: null }],
    nodes: [
      conv(['x', 'w1', 'b1'], 'a', same),
      { opType: 'Tanh', inputs: ['a'], outputs: ['t'] },
      conv(['t', 'w2'], 'c', halved),
      conv(['t', 'w3'], 'd', { strides: attributeOf.ints([2, 2]) }),
      { opType: 'Add', inputs: ['c', 'd'], outputs: ['e'] },
      conv(['e', 'w4', 'b4'], 'y', same),
    ],
  });
  const feeds = new Map(Object.entries(shapes).map(([name, shape], at) => [name, weights(shape, at + 1)] as const));
  const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
  const observed = await observeShapes(runtime, { model, feeds });
  const cotangent = new Value('dy', { kind: 'tensor', dataType: 'float32', shape: [2, 9, 4, 4] });
  model.graph.inputs.push(cotangent);
  feeds.set('dy', weights([2, 9, 4, 4], 20));
  const wrt = model.graph.inputs.filter(({ name }) => name in shapes);
  const y = model.graph.outputs[0] as Value;
  const gradients = vjp({ model, shapes: observed.shapes, cotangents: new Map([[y, cotangent]]), wrt });
  for (const value of gradients.values()) {
    value.type ??= { kind: 'tensor', dataType: 'float32', shape: null };
    model.graph.outputs.push(value);
  }
  const blocked = cloneModel(model);
  const block = await channelBlock(runtime);
  if (block > 0) blockConvolutions(blocked, new NameAuthority(blocked), block);
  const [plain, moved] = [await runtime.open(model), await runtime.open(blocked)];
  const [expected, found] = [await plain.run(feeds), await moved.run(feeds)];
  expect(blocked.opsetImports.has('com.microsoft.nchwc')).toBe(block > 0);
  expect(gradients.size).toBe(7);
  for (const [name, tensor] of expected) {
    const values = float32Values(found.get(name) as typeof tensor);
    const wanted = float32Values(tensor);
    const scale = Math.max(1, ...wanted.map(Math.abs));
    expect(Math.max(...wanted.map((value, at) => Math.abs(value - (values[at] ?? Number.NaN)))) / scale).toBeLessThan(1e-5);
  }
  await plain.close();
  await moved.close();
});
