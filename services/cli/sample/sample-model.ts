/** The sample model: random features and a nearest-class-mean read-out. It needs no training loop and is a real classifier. */
import { attributeOf, encodeModel, float32Tensor, Graph, Model, Node, Value } from '#engine';
import { drawSamples, normalSource, sampleTask } from './sample-task.js';

const HIDDEN = 512;
const SAMPLES_PER_CLASS = 24;
const TEMPERATURE = 24;

/** Weights as ONNX Gemm takes them: `weight` is [inputs, outputs] row-major. */
interface Layer {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
  readonly inputs: number;
  readonly outputs: number;
}

/** An ONNX file: features[N, 256] -> 512 -> 512 -> probabilities[N, 10], about 1.6 MB. Always the same bytes. */
export function sampleModel(): Uint8Array {
  const hidden = [randomLayer(sampleTask.features, HIDDEN, 1), randomLayer(HIDDEN, HIDDEN, 2)];
  return encode([...hidden, readOut(hidden)]);
}

/** He initialisation (He et al. 2015): deviation sqrt(2 / inputs) keeps the scale of activations through ReLU. */
function randomLayer(inputs: number, outputs: number, seed: number): Layer {
  const normal = normalSource(sampleTask.seed + seed);
  const scale = Math.sqrt(2 / inputs);
  return {
    weight: Float32Array.from({ length: inputs * outputs }, () => scale * normal()),
    bias: new Float32Array(outputs),
    inputs,
    outputs,
  };
}

/**
 * Nearest class mean as a linear layer: argmin_c |h - m_c|^2 = argmax_c (m_c . h - |m_c|^2 / 2).
 * Divided by TEMPERATURE, so that the softmax behind it gives usable probabilities; the argmax is the same.
 */
function readOut(hidden: readonly Layer[]): Layer {
  const { features, labels, count } = drawSamples(SAMPLES_PER_CLASS * sampleTask.classes, sampleTask.seed + 3);
  const means = new Float64Array(sampleTask.classes * HIDDEN);
  for (let sample = 0; sample < count; sample++) {
    let activation = features.subarray(sample * sampleTask.features, (sample + 1) * sampleTask.features);
    for (const layer of hidden) activation = reluOf(layer, activation);
    const row = (labels[sample] ?? 0) * HIDDEN;
    activation.forEach((value, unit) => {
      means[row + unit] = (means[row + unit] ?? 0) + value / SAMPLES_PER_CLASS;
    });
  }
  const weight = new Float32Array(HIDDEN * sampleTask.classes);
  const bias = new Float32Array(sampleTask.classes);
  for (let index = 0; index < means.length; index++) {
    const [label, unit, mean] = [Math.floor(index / HIDDEN), index % HIDDEN, means[index] ?? 0];
    weight[unit * sampleTask.classes + label] = mean / TEMPERATURE;
    bias[label] = (bias[label] ?? 0) - mean ** 2 / (2 * TEMPERATURE);
  }
  return { weight, bias, inputs: HIDDEN, outputs: sampleTask.classes };
}

/** max(0, x W + b). */
function reluOf({ weight, bias, inputs, outputs }: Layer, x: Float32Array): Float32Array {
  const result = Float32Array.from(bias);
  for (let input = 0; input < inputs; input++) {
    const value = x[input] ?? 0;
    if (value === 0) continue;
    for (let output = 0; output < outputs; output++)
      result[output] = (result[output] ?? 0) + value * (weight[input * outputs + output] ?? 0);
  }
  return result.map((value) => Math.max(0, value));
}

function encode(layers: readonly Layer[]): Uint8Array {
  const graph = new Graph('sample-classifier');
  let flow = new Value('features', { kind: 'tensor', dataType: 'float32', shape: ['N', sampleTask.features] });
  graph.inputs.push(flow);
  layers.forEach(({ weight, bias, inputs, outputs }, index) => {
    const linear = new Value(`linear_${index}`);
    const last = index === layers.length - 1;
    const activated = new Value(last ? 'probabilities' : `hidden_${index}`);
    const weights = graph.addInitializer(`layer_${index}.weight`, float32Tensor([inputs, outputs], weight));
    const biases = graph.addInitializer(`layer_${index}.bias`, float32Tensor([outputs], bias));
    graph.append(
      new Node({ opType: 'Gemm', name: `layer_${index}`, inputs: [flow, weights, biases], outputs: [linear] }),
      new Node({
        opType: last ? 'Softmax' : 'Relu',
        name: `activation_${index}`,
        inputs: [linear],
        outputs: [activated],
        attributes: last ? { axis: attributeOf.int(-1) } : {},
      }),
    );
    flow = activated;
  });
  flow.type = { kind: 'tensor', dataType: 'float32', shape: ['N', sampleTask.classes] };
  graph.outputs.push(flow);
  const model = new Model(graph);
  model.producerName = 'lathe sample';
  model.opsetImports.set('', 17);
  model.irVersion = 8;
  return encodeModel(model);
}
