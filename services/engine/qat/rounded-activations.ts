/** Inputs of layers rounded to 8 bits, as they are while training and in the artifact: QuantizeLinear and DequantizeLinear. */
import { type CalibrationResult, calibrate } from '../calibration/index.js';
import { float32Tensor, type Graph, type Model, NameAuthority, Node, tensorOf, Value } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { affineParameters, type QuantizationParameters } from '../quantization/quantization-parameters.js';

/** Scale and zero point by name of the value. */
export type RoundedActivations = ReadonlyMap<string, QuantizationParameters>;

/** Of the values that `layers` read first and that are not constant; ranges by least squared error of the rounding. */
export async function activationParameters(
  model: Model,
  { layers, samples, context }: { layers: readonly Node[]; samples: RunSource; context: MethodContext },
): Promise<RoundedActivations> {
  const tensors = [...new Set(layers.flatMap((node) => node.inputs[0]?.name ?? []))];
  const found: CalibrationResult = await calibrate({ model, tensors, samples, options: { method: 'mse' }, context });
  return new Map(
    tensors.flatMap((name) => {
      const range = found.tensors.get(name);
      return range && range.count > 0 ? [[name, affineParameters({ min: range.low, max: range.high })] as const] : [];
    }),
  );
}

/** `layers` of `model` read their first input through its codes. Edits the model in place. */
export function roundActivations(model: Model, layers: readonly Node[], parameters: RoundedActivations): void {
  const names = new NameAuthority(model);
  const rounded = new Map<Value, Value>();
  for (const layer of layers) {
    const [input] = layer.inputs;
    const chosen = input && parameters.get(input.name);
    if (!input || !chosen) continue;
    const value = rounded.get(input) ?? throughCodes(model.graph, layer, { input, chosen, names });
    rounded.set(input, value);
    layer.setInput(0, value);
  }
}

/** In front of the first reader: readers are in topological order. */
function throughCodes(
  graph: Graph,
  before: Node,
  { input, chosen, names }: { input: Value; chosen: QuantizationParameters; names: NameAuthority },
): Value {
  const stem = input.name;
  const scale = graph.addInitializer(names.valueName(`${stem}_scale`), float32Tensor([], [chosen.scale]));
  const zeroPoint = graph.addInitializer(names.valueName(`${stem}_zero_point`), tensorOf('uint8', [], Uint8Array.of(chosen.zeroPoint)));
  const codes = new Value(names.valueName(`${stem}_codes`));
  const value = new Value(names.valueName(`${stem}_rounded`));
  const quantize = {
    opType: 'QuantizeLinear',
    name: names.nodeName(`${stem}_quantize`),
    inputs: [input, scale, zeroPoint],
    outputs: [codes],
  };
  const widen = {
    opType: 'DequantizeLinear',
    name: names.nodeName(`${stem}_dequantize`),
    inputs: [codes, scale, zeroPoint],
    outputs: [value],
  };
  graph.insertBefore(before, new Node(quantize), new Node(widen));
  return value;
}
