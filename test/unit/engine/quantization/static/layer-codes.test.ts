import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Tensor, float32Values, Node, Value } from '../../../../../services/engine/ir/index.js';
import { convLayer } from '../../../../../services/engine/layers/conv-layers.js';
import { WeightStore } from '../../../../../services/engine/layers/weight-store.js';
import { convolutionRows } from '../../../../../services/engine/quantization/kernel-order.js';
import { canSaturate } from '../../../../../services/engine/quantization/saturation.js';
import { quantizeLayer } from '../../../../../services/engine/quantization/static/layer-codes.js';
import { ModelBuilder } from '../method-fixtures.js';

const OUTPUTS = 3;
const INPUTS = 4;
const KERNEL = 3;
const DEPTH = INPUTS * KERNEL * KERNEL;

function layerOf(values: Float32Array, bias: Float32Array) {
  const builder = new ModelBuilder();
  const x = builder.input('x', [1, INPUTS, 8, 8]);
  const inputs = [
    x,
    builder.constant('w', float32Tensor([OUTPUTS, INPUTS, KERNEL, KERNEL], values)),
    builder.constant('b', float32Tensor([OUTPUTS], bias)),
  ];
  const node = new Node({ opType: 'Conv', name: 'conv', inputs, outputs: [new Value('y')] });
  builder.graph.append(node);
  const layer = convLayer(node, new WeightStore(builder.model));
  if ('reason' in layer) throw new Error(layer.reason);
  return layer;
}

const weightValues = fc.float32Array({ minLength: OUTPUTS * DEPTH, maxLength: OUTPUTS * DEPTH, min: -4, max: 4, noNaN: true });
const plain = { perChannel: true, pairSafe: true, reduceRange: false, powerOfTwo: false };

describe('codes of a layer', () => {
  it('never let a pair of products leave int16, in the order of the kernel', () => {
    fc.assert(
      fc.property(weightValues, (values) => {
        const layer = layerOf(values, new Float32Array(OUTPUTS));
        const { codes } = quantizeLayer(layer, { scale: 0.01 }, { weights: plain, correctBias: false });
        const rows = convolutionRows(codes, layer.weight.tensor.dims);
        for (let row = 0; row < OUTPUTS; row += 1) expect(canSaturate(rows.codes.subarray(row * DEPTH, (row + 1) * DEPTH))).toBe(false);
      }),
    );
  });

  it('with a corrected bias give the mean result exactly for inputs at their mean', () => {
    fc.assert(
      fc.property(weightValues, fc.float64Array({ minLength: INPUTS, maxLength: INPUTS, min: -3, max: 3, noNaN: true }), (values, mean) => {
        const layer = layerOf(values, Float32Array.of(0.5, -1, 0));
        const statistics = { mean, power: mean.map((value) => value * value) };
        const { codes, scales, bias } = quantizeLayer(layer, { scale: 0.01 }, { weights: plain, correctBias: true, statistics });
        const original = float32Values(layer.weight.tensor);
        for (let output = 0; output < OUTPUTS; output += 1) {
          let [exact, rounded] = [[0.5, -1, 0][output] ?? 0, bias?.real[output] ?? 0];
          for (let k = 0; k < DEPTH; k += 1) {
            const at = output * DEPTH + k;
            const x = mean[Math.floor(k / KERNEL ** 2)] ?? 0;
            exact += (original[at] ?? 0) * x;
            rounded += (scales[output] ?? 1) * (codes[at] ?? 0) * x;
          }
          expect(rounded).toBeCloseTo(exact, 3);
        }
      }),
    );
  });

  it('make room for a bias that int32 could not hold on the scale of the products', () => {
    const values = new Float32Array(OUTPUTS * DEPTH).fill(1e-9);
    const { bias, scales } = quantizeLayer(
      layerOf(values, Float32Array.of(1e5, 0, -1e5)),
      { scale: 1e-6 },
      { weights: plain, correctBias: false },
    );
    for (const [channel, real] of [1e5, 0, -1e5].entries()) {
      expect(Math.abs(bias?.codes[channel] ?? 0)).toBeLessThan(2 ** 31 - 1);
      expect((bias?.codes[channel] ?? 0) * 1e-6 * (scales[channel] ?? 0)).toBeCloseTo(real, 1);
    }
  });
});
