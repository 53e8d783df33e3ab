/** Small models, contexts and the exact integer reference for the tests of the quantization methods. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attribute,
  attributeOf,
  elementCount,
  float32Tensor,
  float32Values,
  Graph,
  Model,
  Node,
  type Tensor,
  Value,
} from '../../../../services/engine/ir/index.js';
import type { MethodContext, Target } from '../../../../services/engine/method.js';
import { affineParameters, codeRanges, quantizeValue } from '../../../../services/engine/quantization/quantization-parameters.js';
import type { Runtime } from '../../../../services/engine/runtime/execution-session.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';

export const scratch = join(tmpdir(), `lathe-quantization-${randomUUID()}`);
mkdirSync(scratch, { recursive: true });
export function removeScratch(): void {
  rmSync(scratch, { recursive: true, force: true });
}

export const runtime = createOrtRuntime({ scratch, threads: 1 });

/** 'integer' and 'stored': layers and models come out as faster in that form. 'outweighed': integer layers, but a slower model. */
type Form = 'integer' | 'stored' | 'outweighed';

/** The real runtime, except for what it is asked to time: there, the form that is not wanted takes longer. */
export function runtimePreferring(form: Form): Runtime {
  const slowLayers = form === 'stored' ? 'integer_turns' : 'float_turns';
  const integerIsSlow = form !== 'integer';
  return {
    ...runtime,
    async open(model, options) {
      if (typeof model === 'string' || options?.config?.['session.intra_op.allow_spinning'] !== '1') return runtime.open(model, options);
      const isInteger = [...operators(model)].some((operator) => operator.startsWith('DynamicQuantize'));
      const isSlow = (feeds: ReadonlyMap<string, Tensor>): boolean =>
        model.graph.name === 'layer_timing' ? (feeds.get(slowLayers)?.data.read()[0] ?? 0) > 0 : isInteger === integerIsSlow;
      return {
        inputs: [],
        outputs: [],
        async run(feeds) {
          const end = performance.now() + (isSlow(feeds) ? 0.2 : 0);
          while (performance.now() < end);
          return new Map();
        },
        async close() {},
      };
    },
  };
}

export function contextFor(form: Form | 'measured', target: Target = 'x64'): MethodContext {
  return {
    target,
    runtime: form === 'measured' ? runtime : runtimePreferring(form),
    scratch,
    signal: new AbortController().signal,
    objective: 'latency',
    progress() {},
  };
}

/** Numbers in [-1, 1) from a small linear congruential generator: different for every seed, equal for equal seeds. */
export function noise(dims: readonly number[], seed: number, size = 1): Tensor {
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  const values = Float32Array.from({ length: elementCount(dims) }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return size * (state / 2 ** 31 - 1);
  });
  return float32Tensor(dims, values);
}

export class ModelBuilder {
  readonly graph = new Graph('test');
  readonly model = new Model(this.graph);

  constructor({ opset = 17, irVersion = 8 } = {}) {
    this.model.opsetImports.set('', opset);
    this.model.irVersion = irVersion;
  }

  input(name: string, shape: readonly (number | string)[], dataType: 'float32' | 'int64' | 'bool' = 'float32'): Value {
    const value = new Value(name, { kind: 'tensor', dataType, shape });
    this.graph.inputs.push(value);
    return value;
  }

  constant(name: string, tensor: Tensor): Value {
    const value = this.graph.addInitializer(name, tensor);
    if (this.model.irVersion < 4) this.graph.inputs.push(value);
    return value;
  }

  node(opType: string, inputs: readonly (Value | null)[], attributes: Record<string, Attribute> = {}, outputs = 1): Value {
    const name = `${opType}_${this.graph.nodes.length}`;
    const values = Array.from({ length: outputs }, (_, at) => new Value(`${name}_out${at || ''}`));
    this.graph.append(new Node({ opType, name, inputs, outputs: values, attributes }));
    const [first] = values;
    if (!first) throw new Error('a node needs an output');
    return first;
  }

  output(value: Value, shape: readonly (number | string)[] | null = null): this {
    value.type = { kind: 'tensor', dataType: 'float32', shape };
    this.graph.outputs.push(value);
    return this;
  }
}

export const transB = { transB: attributeOf.int(1) };

export async function outputsOf(model: Model, feeds: Record<string, Tensor>, on: Runtime = runtime): Promise<Float32Array[]> {
  const session = await on.open(model);
  try {
    const results = await session.run(new Map(Object.entries(feeds)));
    return [...results.values()].map((tensor) => float32Values(tensor).slice());
  } finally {
    await session.close();
  }
}

export function operators(model: Model): string[] {
  return model.graph.nodes.map((node) => node.opType);
}

/** Signal to quantization noise ratio in dB: 10 log10(sum x^2 / sum (x - y)^2). */
export function sqnr(reference: Float32Array, other: Float32Array): number {
  let signal = 0;
  let error = 0;
  for (const [at, value] of reference.entries()) {
    signal += value ** 2;
    error += (value - (other[at] ?? Number.NaN)) ** 2;
  }
  return error === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / error);
}

/** Codes and scales as a layer holds them: codes [depth, channels]. */
export interface IntegerProduct {
  readonly rows: number;
  readonly depth: number;
  readonly channels: number;
  readonly codes: Int8Array;
  readonly scales: Float32Array;
  readonly bias?: Float32Array;
}

/** The exact result of a dynamically quantized product: integers until the end, then scale and bias. */
export function integerProduct(activation: Float32Array, product: IntegerProduct): Float64Array {
  const { rows, depth, channels, codes, scales, bias } = product;
  const range = { min: activation.reduce((a, b) => Math.min(a, b), 0), max: activation.reduce((a, b) => Math.max(a, b), 0) };
  const parameters = affineParameters(range);
  const activationCodes = Float64Array.from(activation, (value) => quantizeValue(Math.fround(value), parameters, codeRanges.uint8));
  const result = new Float64Array(rows * channels);
  for (let row = 0; row < rows; row += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      let sum = 0;
      for (let k = 0; k < depth; k += 1) {
        sum += ((activationCodes[row * depth + k] ?? 0) - parameters.zeroPoint) * (codes[k * channels + channel] ?? 0);
      }
      const scale = parameters.scale * (scales[scales.length === 1 ? 0 : channel] ?? 1);
      result[row * channels + channel] = scale * sum + (bias?.[channel] ?? 0);
    }
  }
  return result;
}
