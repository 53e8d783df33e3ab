/** Decides for every layer between integer arithmetic and int8 storage, by measuring both forms of each distinct shape once. */

import { Node, type Tensor, tensorOf, type Value } from '../ir/index.js';
import type { DenseLayer } from '../layers/dense-layers.js';
import type { MethodContext } from '../method.js';
import type { ObservedActivation } from '../timing/observed-activations.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { type LayerTiming, type TimedLayer, timeLayer } from './layer-timing.js';
import type { LstmLayer } from './recurrent-layers.js';

export type ComputeLayer = DenseLayer | LstmLayer;

/** 'integer': int8 weights and activations. 'stored': int8 in the file, float32 in the computation. */
export interface ComputeDecision {
  readonly form: 'integer' | 'stored';
  /** Clause for the report that gives the ground. */
  readonly ground: string;
}

/** Integer arithmetic must win by this much: a tie is decided for float32, which loses no accuracy in the activations. */
const GAIN_MIN = 1.05;
/** Distinct shapes that are measured, the largest layers first; the rest follow WEIGHTS_WORTH_INTEGER. */
const MEASURED_MAX = 24;
/** Weights from which on integer arithmetic won on every machine that we measured (onnxruntime.md 1.7). */
const WEIGHTS_WORTH_INTEGER = 65_536;
/** Steps of a sequence, or rows of an activation, where they could not be observed. */
const UNOBSERVED_ROWS = 1;

/** Decisions by layer. `observed` holds the activations that were seen. */
export async function planCompute(
  layers: readonly ComputeLayer[],
  observed: ReadonlyMap<Value, ObservedActivation>,
  context: MethodContext,
): Promise<Map<ComputeLayer, ComputeDecision>> {
  const decisions = new Map<ComputeLayer, ComputeDecision>();
  const timings = new Map<string, LayerTiming>();
  const largestFirst = [...layers].sort((a, b) => weightCount(b) - weightCount(a));
  for (const [index, layer] of largestFirst.entries()) {
    context.signal.throwIfAborted();
    if (layer.integerObstacle) {
      decisions.set(layer, { form: 'stored', ground: layer.integerObstacle });
      continue;
    }
    const timed = timedLayer(layer, observed);
    const key = `${layer.kind} ${timed.activationDims} ${timed.outputDims} ${layer.kind === 'dense' && layer.bias !== null}`;
    if (!timings.has(key) && timings.size < MEASURED_MAX && runsOnTarget(context))
      timings.set(key, await timeLayer(context.runtime, timed));
    const timing = timings.get(key);
    decisions.set(layer, timing ? measuredDecision(timing, timed.activationDims) : unmeasuredDecision(layer, context));
    context.progress((index + 1) / largestFirst.length, `measured ${timings.size} distinct layers`);
  }
  return decisions;
}

function measuredDecision({ float, integer }: LayerTiming, dims: readonly number[]): ComputeDecision {
  const measured = `measured ${float.toFixed(1)} us in float32 and ${integer.toFixed(1)} us in int8 for an activation [${dims}]`;
  return float >= integer * GAIN_MIN
    ? { form: 'integer', ground: measured }
    : { form: 'stored', ground: `integer arithmetic would not be faster: ${measured}` };
}

function unmeasuredDecision(layer: ComputeLayer, context: MethodContext): ComputeDecision {
  const why = runsOnTarget(context)
    ? 'not measured (more distinct layers than are timed)'
    : `not measured (this machine is ${process.arch})`;
  return weightCount(layer) >= WEIGHTS_WORTH_INTEGER
    ? { form: 'integer', ground: `${why}; large enough to gain` }
    : { form: 'stored', ground: `${why}; too small to gain for certain` };
}

function weightCount(layer: ComputeLayer): number {
  if (layer.kind === 'dense') return layer.depth * layer.channels;
  return layer.directions * 4 * layer.hiddenSize * (layer.inputSize + layer.hiddenSize);
}

function timedLayer(layer: ComputeLayer, observed: ReadonlyMap<Value, ObservedActivation>): TimedLayer {
  const dims = observed.get(activationOf(layer))?.dims;
  return layer.kind === 'dense' ? timedDense(layer, dims) : timedLstm(layer, dims);
}

/** What a layer multiplies its weight with: for an LSTM, the sequence that it reads. */
export function activationOf(layer: ComputeLayer): Value {
  if (layer.kind === 'dense') return layer.activation;
  const [input] = layer.node.inputs;
  if (!input) throw new Error(`LSTM ${layer.node.name} has no input`);
  return input;
}

export function timedDense({ depth, channels, bias }: DenseLayer, dims: readonly number[] | undefined): TimedLayer {
  const rows = dims
    ? Math.max(
        1,
        dims.slice(0, -1).reduce((product, size) => product * size, 1),
      )
    : UNOBSERVED_ROWS;
  const biasTensor = tensorOf('float32', [channels], new Float32Array(channels));
  return {
    activationDims: [rows, depth],
    outputDims: [rows, channels],
    macs: rows * depth * channels,
    float({ activation, output, constant, add }) {
      const inputs = [activation, constant('weight', madeUpWeights([depth, channels]))];
      const opType = bias ? 'Gemm' : 'MatMul';
      add(new Node({ opType, inputs: bias ? [...inputs, constant('bias', biasTensor)] : inputs, outputs: [output] }));
    },
    integer({ activation, output, constant, add }) {
      const weight = [constant('codes', madeUpCodes([depth, channels])), constant('scales', onesTensor([channels])), null];
      const inputs = [activation, ...weight, ...(bias ? [constant('bias', biasTensor)] : [])];
      add(new Node({ opType: 'DynamicQuantizeMatMul', domain: 'com.microsoft', inputs, outputs: [output] }));
    },
  };
}

function timedLstm(layer: LstmLayer, dims: readonly number[] | undefined): TimedLayer {
  const { directions, inputSize, hiddenSize } = layer;
  const [steps = UNOBSERVED_ROWS, batch = 1] = dims ?? [];
  const gates = 4 * hiddenSize;
  const attributes = layer.node.attributes;
  return {
    activationDims: [steps, batch, inputSize],
    outputDims: [steps, directions, batch, hiddenSize],
    macs: steps * batch * weightCount(layer),
    float({ activation, output, constant, add }) {
      const weights = [
        constant('weight', madeUpWeights([directions, gates, inputSize])),
        constant('recurrence', madeUpWeights([directions, gates, hiddenSize])),
      ];
      add(new Node({ opType: 'LSTM', inputs: [activation, ...weights], outputs: [output], attributes }));
    },
    integer({ activation, output, constant, add }) {
      const scales = constant('scales', onesTensor([directions, gates]));
      const zeros = constant('zeros', tensorOf('int8', [directions, gates], new Int8Array(directions * gates)));
      const weights = [
        constant('weight', madeUpCodes([directions, inputSize, gates])),
        constant('recurrence', madeUpCodes([directions, hiddenSize, gates])),
      ];
      const inputs = [activation, ...weights, null, null, null, null, null, scales, zeros, scales, zeros];
      add(new Node({ opType: 'DynamicQuantizeLSTM', domain: 'com.microsoft', inputs, outputs: [output], attributes }));
    },
  };
}

function madeUpWeights(dims: readonly number[]): Tensor {
  const count = dims.reduce((product, size) => product * size, 1);
  return tensorOf(
    'float32',
    dims,
    Float32Array.from({ length: count }, (_, at) => (((at * 40_503) % 255) - 127) / 4096),
  );
}

function madeUpCodes(dims: readonly number[]): Tensor {
  const count = dims.reduce((product, size) => product * size, 1);
  return tensorOf(
    'int8',
    dims,
    Int8Array.from({ length: count }, (_, at) => ((at * 40_503) % 255) - 127),
  );
}

function onesTensor(dims: readonly number[]): Tensor {
  const count = dims.reduce((product, size) => product * size, 1);
  return tensorOf('float32', dims, new Float32Array(count).fill(2 ** -12));
}
