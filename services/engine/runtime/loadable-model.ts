/** A model as the runtime can load it: what would end the whole process, no error to catch, is written in another way or refused. */
import { EngineError } from '../engine-errors.js';
import {
  attributeOf,
  cloneModel,
  elementCount,
  graphsWithin,
  intAttribute,
  type Model,
  type Node,
  type Tensor,
  type Value,
} from '../ir/index.js';

/** Operators that the runtime may take out before it looks at what a Transpose reads. */
const passedThrough: ReadonlySet<string> = new Set(['Identity', 'Dropout', 'Cast']);

/**
 * onnxruntime 1.30 asks a Transpose behind a DequantizeLinear with one scale per channel for its attribute `perm` without looking
 * whether it has one, and aborts (transpose optimizer, levels 'basic' and above). Returns `model` when nothing of the kind is in it, else
 * a copy in which the default, the reversed order of the axes, is written out. Throws EngineError `model_unsupported` where the number of
 * axes is not known.
 */
export function loadableModel(model: Model): Model {
  if (endingTransposes(model).length === 0) return model;
  const copy = cloneModel(model);
  const known = constantsOf(copy);
  for (const { node, dequantize } of endingTransposes(copy)) {
    const rank = rankOf(dequantize.inputs[0], known) ?? rankOf(dequantize.outputs[0], known);
    if (rank === undefined) throw refusal(node);
    node.attributes.set('perm', attributeOf.ints(Array.from({ length: rank }, (_, axis) => rank - 1 - axis)));
  }
  return copy;
}

/** Transposes without `perm` with the DequantizeLinear per channel that they read. */
function endingTransposes(model: Model): { readonly node: Node; readonly dequantize: Node }[] {
  const bare = [...graphsWithin(model.graph)].flatMap(({ nodes }) =>
    nodes.filter(({ opType, domain, attributes }) => opType === 'Transpose' && domain === '' && !attributes.has('perm')),
  );
  if (bare.length === 0) return [];
  const known = constantsOf(model);
  return bare.flatMap((node) => {
    const dequantize = dequantizeBehind(node.inputs[0]);
    return dequantize && isPerChannel(dequantize, known) ? [{ node, dequantize }] : [];
  });
}

function dequantizeBehind(value: Value | null | undefined): Node | undefined {
  const producer = value?.producer;
  if (!producer) return undefined;
  if (producer.opType === 'DequantizeLinear') return producer;
  return passedThrough.has(producer.opType) ? dequantizeBehind(producer.inputs[0]) : undefined;
}

/** Scales that are not known count as per channel: writing the order out is exact for all. */
function isPerChannel(dequantize: Node, known: ReadonlyMap<Value, Tensor>): boolean {
  const [, scale] = dequantize.inputs;
  const dims = scale ? known.get(scale)?.dims : undefined;
  return intAttribute(dequantize, 'block_size', 0) === 0 && (dims === undefined || elementCount(dims) > 1);
}

function constantsOf(model: Model): ReadonlyMap<Value, Tensor> {
  const constants = new Map<Value, Tensor>();
  for (const { initializers, nodes } of graphsWithin(model.graph)) {
    for (const [value, tensor] of initializers) constants.set(value, tensor);
    for (const { opType, attributes, outputs } of nodes) {
      const attribute = opType === 'Constant' ? attributes.get('value') : undefined;
      if (attribute?.kind === 'tensor' && outputs[0]) constants.set(outputs[0], attribute.value);
    }
  }
  return constants;
}

function rankOf(value: Value | null | undefined, known: ReadonlyMap<Value, Tensor>): number | undefined {
  if (!value) return undefined;
  return known.get(value)?.dims.length ?? (value.type?.kind === 'tensor' ? value.type.shape?.length : undefined);
}

function refusal({ name, outputs }: Node): EngineError {
  const node = name || (outputs[0]?.name ?? '');
  return new EngineError(
    'model_unsupported',
    `The Transpose "${node}" has no attribute perm and reads a DequantizeLinear with one scale per channel; onnxruntime 1.30 ends the process when it loads such a model. Write the attribute perm.`,
    { node },
  );
}
