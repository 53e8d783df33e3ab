/** A model as an accelerator sees it: which nodes share a layer, which maps go through memory, what counts as weights. */
import { expect, test } from 'vitest';
import { networkLayers } from '../../../../services/engine/accelerators/index.js';
import { tensorOf } from '../../../../services/engine/ir/index.js';
import { buildModel, type NodeSpec, weights } from '../../../support/build-model.js';

const map = (channels: number, size = 8): number[] => [1, channels, size, size];
const conv = (input: string, weight: string, output: string): NodeSpec => ({
  opType: 'Conv',
  name: output,
  inputs: [input, weight],
  outputs: [output],
  attributes: {
    kernel_shape: { kind: 'ints', value: [3n, 3n] },
    pads: { kind: 'ints', value: [1n, 1n, 1n, 1n] },
  },
});

test('an activation, a bias and a sum ride with the convolution before them; the other addend is read', () => {
  const model = buildModel({
    inputs: [{ name: 'x', shape: map(2) }],
    outputs: [{ name: 'y', shape: map(4) }],
    constants: { w: weights([4, 2, 3, 3]), v: weights([4, 4, 3, 3]), slope: weights([4, 1, 1]) },
    nodes: [
      conv('x', 'w', 'a'),
      { opType: 'PRelu', inputs: ['a', 'slope'], outputs: ['b'] },
      conv('b', 'v', 'c'),
      { opType: 'Add', inputs: ['c', 'b'], outputs: ['d'] },
      { opType: 'Relu', inputs: ['d'], outputs: ['y'] },
    ],
  });
  const shapes = new Map('abcd'.split('').map((name) => [name, map(4)] as const));

  const { layers, maps } = networkLayers(model, shapes);

  const [first, second] = layers;
  expect(layers.map(({ node }) => node)).toEqual(['a', 'c']);
  expect(first?.weights.map(({ name, elements }) => [name, elements])).toEqual([
    ['w', 72],
    ['slope', 4],
  ]);
  expect(second?.inputs.map(({ names }) => names[0])).toEqual(['b']);
  expect(maps.map(({ names, elements, isInterface }) => [names[0], elements, isInterface])).toEqual([
    ['x', 128, true],
    ['b', 256, false],
    ['y', 256, true],
  ]);
  expect(second?.macs).toBe(256 * 4 * 9);
  expect(second?.window).toEqual({ rows: 3, stride: 1 });
});

test('what two layers read is written before anything else happens to it', () => {
  const model = buildModel({
    inputs: [{ name: 'x', shape: map(2) }],
    outputs: [
      { name: 'y', shape: map(4) },
      { name: 'z', shape: map(4) },
    ],
    constants: { w: weights([4, 2, 3, 3]), v: weights([4, 4, 3, 3]) },
    nodes: [conv('x', 'w', 'a'), { opType: 'Relu', inputs: ['a'], outputs: ['y'] }, conv('a', 'v', 'z')],
  });

  const { layers } = networkLayers(model, new Map([['a', map(4)]]));

  expect(layers.map(({ op_type }) => op_type)).toEqual(['Conv', 'Relu', 'Conv']);
});

test('a quantized model has the maps of its float form: Q and DQ are other names of a map, int8 initializers are weights', () => {
  const scalar = (value: number) => tensorOf('float32', [], Float32Array.of(value));
  const model = buildModel({
    inputs: [{ name: 'x', shape: map(2) }],
    outputs: [{ name: 'y', shape: map(4) }],
    constants: { s: scalar(0.1), z: tensorOf('uint8', [], Uint8Array.of(0)), w: tensorOf('int8', [4, 2, 3, 3], new Int8Array(72)) },
    nodes: [
      { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['xq'] },
      { opType: 'DequantizeLinear', inputs: ['xq', 's', 'z'], outputs: ['xd'] },
      { opType: 'DequantizeLinear', inputs: ['w', 's'], outputs: ['wd'] },
      conv('xd', 'wd', 'a'),
      { opType: 'Relu', inputs: ['a'], outputs: ['y'] },
    ],
  });

  const { layers } = networkLayers(model, new Map([['a', map(4)]]));

  expect(layers).toHaveLength(1);
  expect(layers[0]?.inputs.map(({ names }) => names)).toEqual([['x', 'xq', 'xd']]);
  expect(layers[0]?.weights).toEqual([{ name: 'w', elements: 72 }]);
});

test('sizes that are read off a map are no map, and an unknown operator is a layer like another', () => {
  const model = buildModel({
    inputs: [{ name: 'x', shape: [1, 16] }],
    outputs: [{ name: 'y', shape: [1, 16] }],
    nodes: [
      { opType: 'Shape', inputs: ['x'], outputs: ['size'] },
      { opType: 'Oracle', domain: 'com.example', name: 'oracle', inputs: ['x'], outputs: ['a'] },
      { opType: 'Reshape', inputs: ['a', 'size'], outputs: ['y'] },
    ],
  });

  const { layers, maps, warnings } = networkLayers(model, new Map([['a', [1, 16]]]));

  expect(layers.map(({ node, macs }) => [node, macs])).toEqual([['oracle', 0]]);
  expect(maps.map(({ names }) => names)).toEqual([['x'], ['a', 'y']]);
  expect(warnings).toEqual(['traffic: the multiplications of 1 nodes are not counted.']);
});
