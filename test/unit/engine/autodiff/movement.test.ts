/** Operators that move elements against central differences. */
import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import { buildModel, weights } from '../../../support/build-model.js';
import { checkGradients } from '../../../support/gradient-check.js';

interface Case {
  readonly name: string;
  readonly opType: string;
  readonly inputs: readonly (readonly number[])[];
  readonly outputs: readonly (readonly number[])[];
  readonly constants?: Readonly<Record<string, Tensor>>;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly opset?: number;
}

const ints = (...values: number[]): Tensor => int64Tensor([values.length], values);
const slice = (
  name: string,
  dims: readonly number[],
  y: readonly number[],
  parts: Record<'starts' | 'ends' | 'axes' | 'steps', number[]>,
): Case => ({
  ...{ name: `Slice ${name}`, opType: 'Slice', inputs: [dims], outputs: [y] },
  constants: Object.fromEntries(Object.entries(parts).map(([part, values]) => [part, ints(...values)])),
});

const cases: readonly Case[] = [
  { name: 'Reshape', opType: 'Reshape', inputs: [[2, 6]], outputs: [[3, 4]], constants: { to: ints(3, -1) } },
  { name: 'Flatten', opType: 'Flatten', inputs: [[2, 3, 4]], outputs: [[2, 12]] },
  { name: 'Squeeze', opType: 'Squeeze', inputs: [[2, 1, 4]], outputs: [[2, 4]], constants: { axes: ints(1) } },
  { name: 'Unsqueeze', opType: 'Unsqueeze', inputs: [[2, 4]], outputs: [[1, 2, 4, 1]], constants: { axes: ints(0, -1) } },
  { name: 'Transpose', opType: 'Transpose', inputs: [[2, 3, 4]], outputs: [[4, 2, 3]], attributes: { perm: attributeOf.ints([2, 0, 1]) } },
  { name: 'Transpose reversed', opType: 'Transpose', inputs: [[2, 3, 4]], outputs: [[4, 3, 2]] },
  { name: 'Expand', opType: 'Expand', inputs: [[3, 1]], outputs: [[2, 3, 4]], constants: { to: ints(2, 3, 4) } },
  { name: 'Tile', opType: 'Tile', inputs: [[2, 3]], outputs: [[4, 9]], constants: { repeats: ints(2, 3) } },
  {
    name: 'Concat',
    opType: 'Concat',
    inputs: [
      [2, 1],
      [2, 3],
      [2, 2],
    ],
    outputs: [[2, 6]],
    attributes: { axis: attributeOf.int(-1) },
  },
  {
    name: 'Split',
    opType: 'Split',
    inputs: [[6, 2]],
    outputs: [
      [1, 2],
      [3, 2],
      [2, 2],
    ],
    constants: { sizes: ints(1, 3, 2) },
  },
  slice('a range', [5, 6], [2, 6], { starts: [1], ends: [3], axes: [0], steps: [1] }),
  slice('from the end', [5, 6], [5, 2], { starts: [-3], ends: [-1], axes: [-1], steps: [1] }),
  slice('every second', [7, 3], [3, 3], { starts: [1], ends: [7], axes: [0], steps: [2] }),
  slice('every third to the end', [8], [3], { starts: [0], ends: [100], axes: [0], steps: [3] }),
  slice('backwards', [5, 2], [5, 2], { starts: [-1], ends: [-100], axes: [0], steps: [-1] }),
  slice('backwards by two', [2, 7], [2, 3], { starts: [5], ends: [0], axes: [1], steps: [-2] }),
  slice('of two axes', [5, 6, 2], [2, 3, 2], { starts: [2, 0], ends: [4, 6], axes: [0, 1], steps: [1, 2] }),
  { name: 'Pad', opType: 'Pad', inputs: [[2, 3]], outputs: [[3, 6]], constants: { pads: ints(1, 0, 0, 3) } },
  { name: 'Pad that crops', opType: 'Pad', inputs: [[4, 3]], outputs: [[3, 4]], constants: { pads: ints(-1, 1, 0, 0) } },
  { name: 'Trilu', opType: 'Trilu', inputs: [[3, 4]], outputs: [[3, 4]], attributes: { upper: attributeOf.int(0) } },
  { name: 'CumSum', opType: 'CumSum', inputs: [[3, 4]], outputs: [[3, 4]], constants: { axis: int64Tensor([], [1]) } },
  {
    ...{ name: 'CumSum backwards, exclusive', opType: 'CumSum', inputs: [[3, 4]], outputs: [[3, 4]] },
    constants: { axis: int64Tensor([], [0]) },
    attributes: { reverse: attributeOf.int(1), exclusive: attributeOf.int(1) },
  },
];

describe('movement', () => {
  test.each(cases)('$name', async ({ opType, inputs, outputs, constants = {}, attributes = {}, opset = 17 }) => {
    const names = inputs.map((_, at) => `x${at}`);
    const made = outputs.map((_, at) => `y${at}`);
    const model = buildModel({
      inputs: inputs.map((shape, at) => ({ name: names[at] ?? '', shape })),
      outputs: outputs.map((shape, at) => ({ name: made[at] ?? '', shape })),
      constants,
      nodes: [{ opType, inputs: [...names, ...Object.keys(constants)], outputs: made, attributes }],
    });
    model.opsetImports.set('', opset);
    const feeds = Object.fromEntries(inputs.map((dims, at) => [names[at] ?? '', weights(dims, at + 1)]));
    for (const { error, largest } of await checkGradients({ model, feeds })) {
      expect(largest).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(2e-3);
    }
  });

  test('parts of a Split that nobody reads count as zero', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [5] }],
      outputs: [{ name: 'y', shape: [3] }],
      constants: { sizes: ints(2, 3) },
      nodes: [{ opType: 'Split', inputs: ['x', 'sizes'], outputs: ['unread', 'y'] }],
    });
    const [checked] = await checkGradients({ model, feeds: { x: weights([5], 1) } });
    expect(checked?.largest).toBeGreaterThan(0.05);
    expect(checked?.error).toBeLessThan(2e-3);
  });

  test('a value that is read whole, twice at one place and once at another', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: [3, 4] }],
      outputs: [{ name: 'y', shape: [3, 4] }],
      constants: { from: ints(1), to: ints(2), end: ints(3), axis: ints(0) },
      nodes: [
        { opType: 'Slice', inputs: ['x', 'from', 'to', 'axis'], outputs: ['middle'] },
        { opType: 'Tanh', inputs: ['middle'], outputs: ['once'] },
        { opType: 'Slice', inputs: ['x', 'from', 'to', 'axis'], outputs: ['again'] },
        { opType: 'Mul', inputs: ['again', 'once'], outputs: ['twice'] },
        { opType: 'Slice', inputs: ['x', 'to', 'end', 'axis'], outputs: ['last'] },
        { opType: 'Mul', inputs: ['twice', 'last'], outputs: ['parts'] },
        { opType: 'Mul', inputs: ['x', 'parts'], outputs: ['y'] },
      ],
    });
    const [checked] = await checkGradients({ model, feeds: { x: weights([3, 4], 1) } });
    expect(checked?.largest).toBeGreaterThan(0.05);
    expect(checked?.error).toBeLessThan(2e-3);
  });
});
