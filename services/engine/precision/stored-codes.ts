/** Puts the codes of a weight into the graph, in the narrowest integer type that holds them, behind a DequantizeLinear. */
import { attributeOf, float32Tensor, type Model } from '../ir/index.js';
import { fromRows } from '../layers/channel-layout.js';
import type { Constant, WeightStore } from '../layers/weight-store.js';
import type { LowerableWeight } from './network-tensors.js';
import { codesTensor, quantizerDomain } from './rounded-maps.js';
import type { WeightCodes, WeightGranularity } from './weight-codes.js';

/** Outputs of a ConvTranspose in groups lie along two axes, which one scale per channel cannot follow. */
export function granularityOf({ form }: LowerableWeight, wanted: WeightGranularity): WeightGranularity {
  return form.groups > 1 && form.inputAxis === 0 ? 'tensor' : wanted;
}

/** `constant` is the weight as it now stands in the graph. Returns the name of the initializer with the codes. */
export function storeCodes(
  model: Model,
  store: WeightStore,
  { weight, constant, codes }: { readonly weight: LowerableWeight; readonly constant: Constant; readonly codes: WeightCodes },
): string {
  const type = codes.bits <= 8 ? 'int8' : 'int16';
  const { dims } = constant.tensor;
  const ordered = fromRows(codes.codes, weight.form.layout, Float32Array);
  const { name } = constant.value;
  const isPerTensor = codes.scales.length === 1;
  const count = isPerTensor ? [] : [codes.scales.length];
  const [stored, scale, zero] = [
    store.declare(model.graph, `${weight.name}_quantized`, codesTensor(type, dims, ordered)),
    store.declare(model.graph, `${weight.name}_scale`, float32Tensor(count, codes.scales)),
    store.declare(model.graph, `${weight.name}_zero_point`, codesTensor(type, count, new Int8Array(codes.scales.length))),
  ];
  const output = store.newValue(`${name}_dequantized`);
  const node = store.newNode(
    {
      opType: 'DequantizeLinear',
      domain: quantizerDomain(type, model),
      inputs: [stored.value, scale.value, zero.value],
      outputs: [output],
      attributes: isPerTensor ? {} : { axis: attributeOf.int(1 - Math.min(1, weight.form.inputAxis)) },
    },
    output.name,
  );
  for (const use of constant.value.uses) use.node.setInput(use.index, output);
  store.insertFirst(model.graph, node);
  store.dropIfUnread(constant);
  return stored.value.name;
}

/** Bytes of codes and scales as they would lie in a memory of exact widths. */
export function packedBytes({ bits, codes, scales }: WeightCodes): number {
  return Math.ceil((codes.length * bits) / 8) + 4 * scales.length;
}
