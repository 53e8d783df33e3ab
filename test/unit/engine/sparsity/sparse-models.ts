/** Small models with weights of every kind, and what the tests of sparsity ask of them. */
import { join } from 'node:path';
import { attributeOf, float32Tensor, float32Values, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import { WeightStore } from '../../../../services/engine/layers/weight-store.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { decodeModelFile, encodeModelFile } from '../../../../services/engine/onnx/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, scratch, transB } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';
import { correlatedInputs } from './correlated-inputs.js';

const ints = (...values: number[]) => attributeOf.ints(values);

/** Stem, grouped and depthwise convolutions, a transposed one, MatMul and Gemm; named after their weights. */
export function convolutionalModel(): Model {
  const builder = new ModelBuilder();
  const pads = { pads: ints(1, 1, 1, 1) };
  const relu = (value: ReturnType<ModelBuilder['node']>) => builder.node('Relu', [value]);
  const weight = (name: string, dims: readonly number[], seed: number) => builder.constant(name, noise(dims, seed, 0.5));
  const stem = relu(builder.node('Conv', [builder.input('x', ['n', 3, 6, 6]), weight('stem', [8, 3, 3, 3], 1)], pads));
  const grouped = relu(builder.node('Conv', [stem, weight('grouped', [8, 4, 3, 3], 2)], { ...pads, group: attributeOf.int(2) }));
  const depthwise = relu(builder.node('Conv', [grouped, weight('depthwise', [8, 1, 3, 3], 3)], { ...pads, group: attributeOf.int(8) }));
  const up = relu(builder.node('ConvTranspose', [depthwise, weight('up', [8, 6, 2, 2], 4)], { strides: ints(2, 2) }));
  const pooled = builder.node('Flatten', [builder.node('GlobalAveragePool', [up])]);
  const hidden = relu(builder.node('MatMul', [pooled, weight('hidden', [6, 10], 5)]));
  return builder.output(builder.node('Gemm', [hidden, weight('head', [4, 10], 6), builder.constant('bias', noise([4], 7))], transB), [
    'n',
    4,
  ]).model;
}

export function images(count: number, seed = 50): Tensor {
  return float32Tensor([count, 3, 6, 6], correlatedInputs({ count, depth: 108, seed }));
}

/** [count, 6, 8] */
export function sequences(count: number, seed = 5): Tensor {
  return float32Tensor([count, 6, 8], correlatedInputs({ count: 6 * count, depth: 8, seed }));
}

export function contextWith(samples?: Tensor, input = 'x'): MethodContext {
  return { ...contextFor('measured'), ...(samples ? { calibration: samplesOf(input, samples) } : {}) };
}

/** The model as somebody else finds it: written to a file and read again. */
export function written(model: Model): Model {
  const path = join(scratch, `sparse-${Math.random().toString(36).slice(2)}.onnx`);
  encodeModelFile(model, path);
  return decodeModelFile(path);
}

/** All float32 constants by name. */
export function weightsOf(model: Model): Map<string, Float32Array> {
  const floats = new WeightStore(model).all().filter(({ tensor }) => tensor.dataType === 'float32');
  return new Map(floats.map(({ value, tensor }) => [value.name, float32Values(tensor).slice()]));
}

export function zeroCount(values: Float32Array | undefined): number {
  return values?.filter((value) => value === 0).length ?? Number.NaN;
}

/** A value inside a model, for all samples. */
export async function innerOutput(model: Model, name: string, x: ReturnType<typeof noise>): Promise<Float32Array> {
  const copy = written(model);
  const value = copy.graph.nodes.flatMap(({ outputs }) => outputs).find((output) => output?.name === name);
  if (!value) throw new Error(`no value ${name}`);
  value.type = { kind: 'tensor', dataType: 'float32', shape: null };
  copy.graph.outputs.splice(0, copy.graph.outputs.length, value);
  return (await outputsOf(copy, { x }))[0] ?? new Float32Array();
}
