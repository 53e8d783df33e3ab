/** Puts factors in the place of layers: new operators in front, the layer's own node as the last of them. */
import {
  type Attribute,
  attributeOf,
  float32Tensor,
  intsAttribute,
  type Model,
  type Node,
  stringAttribute,
  type Value,
} from '../ir/index.js';
import { shiftBias } from '../layers/bias-shift.js';
import { WeightStore } from '../layers/weight-store.js';
import type { Candidate } from './candidates.js';
import { transposed } from './dense-products.js';
import type { Factor } from './factors.js';
import { findLayers, type MatrixLayer } from './matrix-layers.js';

/** Names of the nodes that were put in front of a layer, by its name. */
export type AddedNodes = ReadonlyMap<string, readonly string[]>;

/** Writes the choices, by name of the layer, into `model` itself; inputs, outputs and the names of nodes stay. */
export function writeFactors(model: Model, choices: ReadonlyMap<string, Candidate>): AddedNodes {
  const store = new WeightStore(model);
  const added = new Map<string, readonly string[]>();
  for (const layer of findLayers(model, store, []).layers) {
    const choice = choices.get(layer.name);
    if (choice) added.set(layer.name, writeLayer(layer, choice, store));
  }
  return added;
}

function writeLayer(layer: MatrixLayer, choice: Candidate, store: WeightStore): string[] {
  const shift = choice.biasShift();
  const factors = choice.factors();
  const { node, weight } = layer.source;
  const formerWeight = node.inputs[1] ?? null;
  const names: string[] = [];
  let value = layer.source.activation;
  for (const factor of factors.slice(0, -1)) {
    const made = store.newNode(
      {
        ...operatorOf(layer, factor),
        inputs: [value, constantOf(layer, factor, store)],
        outputs: [store.newValue(`${layer.name}_low_rank`)],
      },
      `${layer.name}_low_rank`,
    );
    node.graph?.insertBefore(node, made);
    names.push(made.name);
    value = made.outputs[0] ?? value;
  }
  const last = factors.at(-1);
  if (!last) throw new RangeError('writeFactors: a choice without factors');
  node.setInput(0, value);
  node.setInput(1, constantOf(layer, last, store));
  if (node.opType === 'Gemm') node.attributes.delete('transB');
  if (layer.source.kind === 'conv') for (const [name, attribute] of walkAttributes(node, last)) node.attributes.set(name, attribute);
  if (shift) shiftBias(store, node, shift);
  dropTranspose(formerWeight, store);
  store.dropIfUnread(weight);
  return names;
}

function operatorOf({ source }: MatrixLayer, factor: Factor): { opType: string; attributes?: ReadonlyMap<string, Attribute> } {
  if (source.kind === 'dense') return { opType: 'MatMul' };
  return { opType: 'Conv', attributes: walkAttributes(source.node, factor).set('group', attributeOf.int(factor.group)) };
}

/** Products take [in, out], convolutions [out, in / group, ...kernel]. */
function constantOf({ source, name }: MatrixLayer, { dims, values }: Factor, store: WeightStore): Value {
  const [rows = 1, columns = 1] = dims;
  const tensor = source.kind === 'conv' ? float32Tensor(dims, values) : float32Tensor([columns, rows], transposed(values, rows, columns));
  return store.declare(source.weight.graph, `${name}_factor`, tensor).value;
}

/** Strides, dilations and pads of the layer along the axes that the factor walks; single steps along the others. */
function walkAttributes(node: Node, { dims, walk }: Factor): Map<string, Attribute> {
  const kernel = dims.slice(2);
  const along = (values: readonly number[], idle: number): number[] =>
    values.map((value, at) => (walk.includes(at % kernel.length) ? value : idle));
  const ones = kernel.map(() => 1);
  const autoPad = stringAttribute(node, 'auto_pad', 'NOTSET');
  const attributes = new Map<string, Attribute>([
    ['kernel_shape', attributeOf.ints(kernel)],
    ['strides', attributeOf.ints(along(intsAttribute(node, 'strides', ones), 1))],
    ['dilations', attributeOf.ints(along(intsAttribute(node, 'dilations', ones), 1))],
  ]);
  // SAME pads an axis by its kernel and stride: nothing along those that are not walked.
  if (autoPad !== 'NOTSET') return attributes.set('auto_pad', attributeOf.string(autoPad));
  return attributes.set(
    'pads',
    attributeOf.ints(
      along(
        intsAttribute(
          node,
          'pads',
          [...ones, ...ones].map(() => 0),
        ),
        0,
      ),
    ),
  );
}

/** A weight may have come through a Transpose, which nothing reads any more. */
function dropTranspose(value: Value | null, store: WeightStore): void {
  const producer = value?.producer;
  if (!value || !producer || producer.opType !== 'Transpose' || value.isRead || store.isGraphOutput(value)) return;
  producer.graph?.remove([producer]);
}
