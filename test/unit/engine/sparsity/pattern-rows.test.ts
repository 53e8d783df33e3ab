import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attributeOf, Node, Value } from '../../../../services/engine/ir/index.js';
import { channelLayout, matrixLayout } from '../../../../services/engine/layers/channel-layout.js';
import { patternRows, type WeightForm, weightForm, weightValues } from '../../../../services/engine/sparsity/pattern-rows.js';

function node(opType: string, group = 1): Node {
  return new Node({ opType, inputs: [], outputs: [new Value('y')], attributes: { group: attributeOf.int(group) } });
}

/** A weight whose values are the coordinates of its elements, written out as numbers. */
function coordinates(dims: readonly number[]): Float32Array {
  const count = dims.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: count }, (_, at) => {
    let [rest, code] = [at, 0];
    for (let axis = dims.length - 1, scale = 1; axis >= 0; axis -= 1, scale *= 10) {
      code += scale * (rest % (dims[axis] ?? 1));
      rest = Math.floor(rest / (dims[axis] ?? 1));
    }
    return code;
  });
}

function rowsOf(form: WeightForm, dims: readonly number[]): number[][] {
  const values = patternRows(coordinates(dims), form);
  const { rows, depth } = form.matrix;
  return Array.from({ length: rows }, (_, row) => [...values.subarray(row * depth, (row + 1) * depth)]);
}

describe('the rows of a weight as patterns see them', () => {
  it('of a convolution [O, I/g, h, w] run over the inputs first, then over the positions of the kernel', () => {
    const dims = [4, 3, 1, 2];
    const form = weightForm(node('Conv', 2), dims, channelLayout(node('Conv', 2), dims));
    expect(form.matrix).toEqual({ rows: 4, depth: 6, inputs: 3, rowRun: 2 });
    expect(rowsOf(form, dims)[2]).toEqual([2000, 2100, 2200, 2001, 2101, 2201]);
  });

  it('of a transposed convolution [I, O/g, h, w] have the outputs of all groups one after the other', () => {
    const dims = [4, 3, 1, 2];
    const form = weightForm(node('ConvTranspose', 2), dims, channelLayout(node('ConvTranspose', 2), dims));
    expect(form.matrix).toEqual({ rows: 6, depth: 4, inputs: 2, rowRun: 3 });
    expect(rowsOf(form, dims)[1]).toEqual([100, 1100, 101, 1101]);
    expect(rowsOf(form, dims)[4]).toEqual([2100, 3100, 2101, 3101]);
  });

  it('of matrices are what one output is a sum over, on whichever axis it lies', () => {
    expect(rowsOf(weightForm(node('MatMul'), [3, 2], matrixLayout(0, [3, 2])), [3, 2])).toEqual([
      [0, 10, 20],
      [1, 11, 21],
    ]);
    expect(rowsOf(weightForm(node('Gemm'), [2, 3], matrixLayout(1, [2, 3])), [2, 3])).toEqual([
      [0, 1, 2],
      [10, 11, 12],
    ]);
  });

  it('of recurrent layers keep the gates of each direction apart', () => {
    const dims = [2, 12, 5];
    const form = weightForm(node('LSTM'), dims, channelLayout(node('LSTM'), dims));
    expect(form.matrix).toEqual({ rows: 24, depth: 5, inputs: 5, rowRun: 3 });
  });

  it('lead back to the weight', () => {
    const cases = fc.record({
      opType: fc.constantFrom('Conv', 'ConvTranspose', 'GRU', 'MatMul', 'Gemm'),
      group: fc.integer({ min: 1, max: 3 }),
      sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 4, maxLength: 4 }),
    });
    fc.assert(
      fc.property(cases, ({ opType, group, sizes: [a = 1, b = 1, ...kernel] }) => {
        const isConvolution = opType.startsWith('Conv');
        const dims = isConvolution ? [group * a, b, ...kernel] : opType === 'GRU' ? [1, 3 * a, b] : [a, b];
        const own = node(opType, isConvolution ? group : 1);
        const layout = isConvolution || opType === 'GRU' ? channelLayout(own, dims) : matrixLayout(opType === 'MatMul' ? 0 : 1, dims);
        const form = weightForm(own, dims, layout);
        expect([...weightValues(patternRows(coordinates(dims), form), form)]).toEqual([...coordinates(dims)]);
      }),
    );
  });
});
