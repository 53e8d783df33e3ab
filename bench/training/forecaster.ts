/** A forecaster of our own: windows standardised by themselves, a linear map of the hours, and a small hidden layer beside it. */
import { attributeOf, float32Tensor, Graph, GraphWriter, Model, NameAuthority, Value } from '../../services/engine/ir/index.js';
import { HISTORY, HORIZON, SERIES } from './series.js';

const OPSET = 17;
const EPSILON = 1e-5;

/**
 * z = (x - mean) / deviation over the hours of each series; y = deviation (z L + relu(z A + e) B) + mean, L, A and B shared by the
 * series (Zeng and others 2023, "Are Transformers Effective for Time Series Forecasting?"; Li and others 2023, RLinear), e one
 * vector for each series. The weights are zeros: the recipe draws fresh ones.
 */
export function forecaster(hidden: number): Model {
  const graph = new Graph('forecaster');
  const model = new Model(graph);
  model.opsetImports.set('', OPSET);
  const write = new GraphWriter(model, new NameAuthority(model), graph, 'forecaster');
  const input = new Value('input', { kind: 'tensor', dataType: 'float32', shape: ['batch', HISTORY, SERIES] });
  graph.inputs.push(input);
  const weight = (...dims: number[]): Value => write.constant(float32Tensor(dims, new Float32Array(dims.reduce((a, b) => a * b, 1))));
  const mean = (x: Value): Value => write.node('ReduceMean', [x], { axes: attributeOf.ints([2]), keepdims: attributeOf.int(1) });
  const turned = { perm: attributeOf.ints([0, 2, 1]) };
  const x = write.node('Transpose', [input], turned);
  const level = mean(x);
  const centred = write.node('Sub', [x, level]);
  const variance = mean(write.node('Mul', [centred, centred]));
  const deviation = write.node('Sqrt', [write.node('Add', [variance, write.float(EPSILON)])]);
  const z = write.node('Div', [centred, deviation]);
  const linear = write.node('Add', [write.node('MatMul', [z, weight(HISTORY, HORIZON)]), weight(HORIZON)]);
  const inner = write.node('Relu', [write.node('Add', [write.node('MatMul', [z, weight(HISTORY, hidden)]), weight(SERIES, hidden)])]);
  const sum = write.node('Add', [linear, write.node('MatMul', [inner, weight(hidden, HORIZON)])]);
  const restored = write.node('Add', [write.node('Mul', [sum, deviation]), level]);
  const output = new Value('output', { kind: 'tensor', dataType: 'float32', shape: ['batch', HORIZON, SERIES] });
  const last = write.node('Transpose', [restored], turned);
  const producer = last.producer;
  if (!producer) throw new Error('the last node makes no value');
  producer.setOutput(0, output);
  graph.outputs.push(output);
  return model;
}
