/** The widths that a file tells: its element types, and the table in its metadata. */
import { expect, test } from 'vitest';
import { addToBitTable, BIT_TABLE_KEY, bitTableOf, widthsOf } from '../../../../services/engine/accelerators/index.js';
import { tensorOf } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';

const quantized = () =>
  buildModel({
    inputs: [{ name: 'x', shape: [1, 4] }],
    outputs: [{ name: 'y', shape: [1, 2] }],
    constants: {
      s: tensorOf('float32', [], Float32Array.of(0.1)),
      z: tensorOf('int16', [], Int16Array.of(0)),
      w: tensorOf('int8', [4, 2], new Int8Array(8)),
      v: weights([2, 2]),
    },
    nodes: [
      { opType: 'QuantizeLinear', inputs: ['x', 's', 'z'], outputs: ['xq'] },
      { opType: 'DequantizeLinear', inputs: ['xq', 's', 'z'], outputs: ['xd'] },
      { opType: 'DequantizeLinear', inputs: ['w', 's'], outputs: ['wd'] },
      { opType: 'MatMul', inputs: ['xd', 'wd'], outputs: ['a'] },
      { opType: 'MatMul', inputs: ['a', 'v'], outputs: ['y'] },
    ],
  });

test('integers have the width of their type, maps that of their codes, floats none', () => {
  const { weights: ofWeights, maps, compressed } = widthsOf(quantized());
  expect([ofWeights?.get('w'), ofWeights?.get('v'), maps?.get('xq'), maps?.get('a')]).toEqual([8, undefined, 16, undefined]);
  expect(compressed?.size).toBe(0);
});

test('the table says where codes are narrower than their container, and is added to', () => {
  const model = quantized();
  addToBitTable(model, { weights: { w: 5 }, maps: { x: 6 } });
  addToBitTable(model, { compressed: { x: 2.25 } });
  expect(bitTableOf(model)).toEqual({ weights: { w: 5 }, maps: { x: 6 }, compressed: { x: 2.25 } });
  const widths = widthsOf(model);
  expect([widths.weights?.get('w'), widths.maps?.get('x'), widths.compressed?.get('x')]).toEqual([5, 6, 2.25]);
});

test('metadata that is no table is no table', () => {
  const model = quantized();
  for (const text of ['', '[1]', '"x"', '{"weights": 3, "maps": {"x": "wide", "a": -1, "b": 4}}', '{']) {
    model.metadata.set(BIT_TABLE_KEY, text);
    expect(Object.values(bitTableOf(model)).flatMap((section) => Object.entries(section ?? {}))).toEqual(
      text.includes('"b"') ? [['b', 4]] : [],
    );
  }
});
