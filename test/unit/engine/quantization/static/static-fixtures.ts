/** Small float networks, samples and contexts for the tests of static int8. */
import { attributeOf, float32Tensor, float32Values, type Model, type Tensor, type Value } from '../../../../../services/engine/ir/index.js';
import type { MethodContext, RunSource, Target } from '../../../../../services/engine/method.js';
import { createOrtRuntime } from '../../../../../services/engine/runtime/ort-session.js';
import { ModelBuilder, noise, scratch } from '../method-fixtures.js';

export const runtime = createOrtRuntime({ scratch, threads: 1 });

/** `count` samples of the input `name`, made one by one. */
export function samplesOf(make: (seed: number) => Tensor, count = 16, name = 'x'): RunSource {
  const first = make(0);
  return {
    sampleCount: count,
    fixedBatch: null,
    sampleBytes: first.data.byteLength,
    async *runs(size, limit = count) {
      for (let start = 0; start < Math.min(limit, count); start += size) {
        const rows = Math.min(size, Math.min(limit, count) - start);
        const tensors = Array.from({ length: rows }, (_, at) => float32Values(make(start + at)));
        const values = new Float32Array(rows * (tensors[0]?.length ?? 0));
        for (const [at, row] of tensors.entries()) values.set(row, at * row.length);
        yield { feeds: new Map([[name, float32Tensor([rows, ...first.dims.slice(1)], values)]]), rows, sampleCount: rows };
      }
    },
  };
}

export function staticContext(calibration: RunSource, overrides: Partial<MethodContext> = {}, target: Target = 'x64'): MethodContext {
  return { target, objective: 'size', runtime, scratch, calibration, signal: new AbortController().signal, progress() {}, ...overrides };
}

/** Weights with a spread between channels, as trained networks have. */
export function weights(dims: readonly number[], seed: number): Tensor {
  const fanIn = dims.slice(1).reduce((a, b) => a * b, 1);
  return noise(dims, seed, 1.5 / Math.sqrt(fanIn));
}

export class NetworkBuilder extends ModelBuilder {
  private seed = 1;

  conv(x: Value, channels: readonly [inputs: number, outputs: number], { group = 1, stride = 1, kernel = 3 } = {}): Value {
    const [inputs, outputs] = channels;
    this.seed += 2;
    const weight = this.constant(`w${this.seed}`, weights([outputs, inputs / group, kernel, kernel], this.seed));
    const bias = this.constant(`b${this.seed}`, noise([outputs], this.seed + 1, 0.3));
    const pad = (kernel - 1) / 2;
    return this.node('Conv', [x, weight, bias], {
      pads: attributeOf.ints([pad, pad, pad, pad]),
      strides: attributeOf.ints([stride, stride]),
      group: attributeOf.int(group),
    });
  }

  gemm(x: Value, [inputs, outputs]: readonly [number, number]): Value {
    this.seed += 2;
    return this.node('Gemm', [
      x,
      this.constant(`w${this.seed}`, weights([inputs, outputs], this.seed)),
      this.constant(`b${this.seed}`, noise([outputs], this.seed + 1, 0.3)),
    ]);
  }
}

/** Convolution, depthwise convolution, a residual block, pooling, concatenation, a classifier. */
export function residualNetwork(): Model {
  const net = new NetworkBuilder();
  const x = net.input('x', ['n', 3, 12, 12]);
  const stem = net.node('Relu', [net.conv(x, [3, 8])]);
  const deep = net.node('Relu', [net.conv(stem, [8, 8], { group: 8 })]);
  const block = net.node('Relu', [net.node('Add', [net.conv(net.node('Relu', [net.conv(deep, [8, 8])]), [8, 8]), stem])]);
  const pooled = net.node('MaxPool', [block], { kernel_shape: attributeOf.ints([2, 2]), strides: attributeOf.ints([2, 2]) });
  const both = net.node('Concat', [net.conv(pooled, [8, 4], { kernel: 1 }), net.node('Relu', [net.conv(pooled, [8, 4])])], {
    axis: attributeOf.int(1),
  });
  const last = net.node('Relu', [net.conv(both, [8, 16], { stride: 2 })]);
  const flat = net.node('Flatten', [net.node('GlobalAveragePool', [last])]);
  return net.output(net.gemm(net.node('Relu', [net.gemm(flat, [16, 12])]), [12, 5]), ['n', 5]).model;
}

export const image = (seed: number): Tensor => noise([1, 3, 12, 12], seed + 100);
