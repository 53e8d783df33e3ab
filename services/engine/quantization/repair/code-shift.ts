/** Signed codes to unsigned ones: q + 128 with zero point + 128 is the same real value, scale * (q - zero point). */
import { byteCount, type DataType, elementCount, type Node, stringAttribute, type Tensor, tensorOf, type Value } from '../../ir/index.js';
import type { QuantizedGraph } from './quantized-graph.js';

const SHIFT = 128;

/** Where an operator holds codes. `zeroPoint` is the input with their zero point; without one the operator only moves them. */
export interface CodeSlot {
  readonly side: 'input' | 'output';
  readonly index: number;
  readonly zeroPoint?: number;
  /** Input whose shape a zero point that is missing must have. */
  readonly scale?: number;
  /** Constants here are weights: they may stay signed beside unsigned activations. */
  readonly isWeight?: true;
}

const input = (index: number, zeroPoint?: number, scale?: number): CodeSlot => ({
  ...{ side: 'input', index },
  ...(zeroPoint === undefined ? {} : { zeroPoint }),
  ...(scale === undefined ? {} : { scale }),
});
const output = (index: number, zeroPoint?: number, scale?: number): CodeSlot => ({ ...input(index, zeroPoint, scale), side: 'output' });
const weight = (index: number, zeroPoint: number, scale?: number): CodeSlot => ({ ...input(index, zeroPoint, scale), isWeight: true });

const moving = [input(0), output(0)];
const unary = [input(0, 2, 1), output(0, 4, 3)];
const binary = [input(0, 2, 1), input(3, 5, 4), output(0, 7, 6)];
const allInputs = (node: Node): CodeSlot[] => [...node.inputs.keys()].map((index) => input(index));
const allOutputs = (node: Node): CodeSlot[] => [...node.outputs.keys()].map((index) => output(index));

type Slots = readonly CodeSlot[] | ((node: Node) => readonly CodeSlot[] | undefined);

/** Total over the operators through which codes may be shifted; any other reader or maker of codes is a barrier. */
const slots: Readonly<Record<string, Slots>> = {
  QuantizeLinear: [output(0, 2, 1)],
  DequantizeLinear: [input(0, 2, 1)],
  Identity: moving,
  Reshape: moving,
  Flatten: moving,
  Squeeze: moving,
  Unsqueeze: moving,
  Transpose: moving,
  Slice: moving,
  Gather: moving,
  GatherElements: moving,
  GatherND: moving,
  Expand: moving,
  Tile: moving,
  DepthToSpace: moving,
  SpaceToDepth: moving,
  ReduceMax: moving,
  ReduceMin: moving,
  Split: (node) => [input(0), ...allOutputs(node)],
  Concat: (node) => [...allInputs(node), output(0)],
  MaxPool: (node) => (node.outputs.length === 1 ? moving : undefined),
  Resize: (node) => (stringAttribute(node, 'mode', 'nearest') === 'nearest' ? moving : undefined),
  Pad: (node) => (node.inputs[2] ? [input(0), input(2), output(0)] : undefined),
  QLinearConv: [input(0, 2, 1), weight(3, 5, 4), output(0, 7, 6)],
  QLinearMatMul: [input(0, 2, 1), weight(3, 5, 4), output(0, 7, 6)],
  QGemm: (node) => [input(0, 2, 1), weight(3, 5, 4), ...(node.inputs[7] ? [output(0, 8, 7)] : [])],
  QLinearAdd: binary,
  QLinearMul: binary,
  QLinearAveragePool: unary,
  QLinearGlobalAveragePool: unary,
  QLinearSigmoid: unary,
  QLinearLeakyRelu: unary,
  QLinearSoftmax: unary,
  QLinearConcat: (node) => {
    const count = Math.floor((node.inputs.length - 2) / 3);
    return [...Array.from({ length: count }, (_, at) => input(2 + 3 * at, 4 + 3 * at, 3 + 3 * at)), output(0, 1, 0)];
  },
  MatMulInteger: [weight(1, 3)],
  MatMulIntegerToFloat: [input(0, 4, 2), weight(1, 5, 3)],
  DynamicQuantizeMatMul: [weight(1, 3, 2)],
};

/** The places of codes in `node`; undefined for operators that work on codes in a way that cannot be shifted. */
export function slotsOf(node: Node): readonly CodeSlot[] | undefined {
  const found = Object.hasOwn(slots, node.opType) ? slots[node.opType] : undefined;
  return typeof found === 'function' ? found(node) : found;
}

function valueAt(node: Node, slot: CodeSlot): Value | null {
  return (slot.side === 'input' ? node.inputs : node.outputs)[slot.index] ?? null;
}

/** Values that hold codes of one tensor, moved or not, with every place where an operator reads or makes them. */
export interface CodeGroup {
  readonly values: ReadonlySet<Value>;
  readonly places: readonly { readonly node: Node; readonly slot: CodeSlot }[];
  /** Why the group cannot be shifted; null when it can. */
  readonly obstacle: string | null;
}

/** Follows the codes of `start` through operators that move them. Weights are a group of their own. */
export function codeGroup(start: Value, graph: QuantizedGraph): CodeGroup {
  const values = new Set<Value>([start]);
  const places = new Map<string, { node: Node; slot: CodeSlot }>();
  const ids = new Map<Node, number>();
  let obstacle: string | null = null;
  for (const value of values) {
    obstacle ??= interfaceObstacle(value, graph);
    const around = [...value.consumers, ...(value.producer && !graph.store.constant(value) ? [value.producer] : [])];
    for (const node of around) {
      const own = slotsOf(node)?.filter((slot) => valueAt(node, slot) === value) ?? [];
      if (own.length === 0) obstacle ??= `${node.opType} "${node.name}" works on its codes`;
      for (const slot of own) {
        if (!ids.has(node)) ids.set(node, ids.size);
        places.set(`${ids.get(node)} ${slot.side} ${slot.index}`, { node, slot });
        obstacle ??= zeroPointObstacle(node, slot, graph);
        if (slot.zeroPoint === undefined) {
          for (const other of slotsOf(node) ?? []) {
            const moved = valueAt(node, other);
            if (moved && other.zeroPoint === undefined) values.add(moved);
          }
        }
      }
    }
  }
  return { values, places: [...places.values()], obstacle };
}

function interfaceObstacle(value: Value, graph: QuantizedGraph): string | null {
  if (graph.store.isGraphOutput(value)) return `the model returns the codes "${value.name}", and outputs keep their type`;
  if (!value.producer && !graph.store.constant(value)) return `the model takes the codes "${value.name}", and inputs keep their type`;
  return null;
}

function zeroPointObstacle(node: Node, { zeroPoint }: CodeSlot, graph: QuantizedGraph): string | null {
  const value = zeroPoint === undefined ? null : (node.inputs[zeroPoint] ?? null);
  if (!value) return null;
  const type = graph.store.constant(value)?.tensor.dataType;
  return type === 'int8' ? null : `the zero point of ${node.opType} "${node.name}" is not an int8 constant`;
}

/** int8 to uint8, each element + 128. */
export function shifted(tensor: Tensor): Tensor {
  const codes = tensor.data.read().slice();
  for (let at = 0; at < codes.length; at += 1) codes[at] = (codes[at] ?? 0) ^ SHIFT;
  return tensorOf('uint8', tensor.dims, codes);
}

/** Shifts every code, zero point and declared type of the group. The constants it replaces may be read elsewhere: they stay. */
export function shiftGroup({ values, places }: CodeGroup, graph: QuantizedGraph): void {
  const constants = new Map<Value, Value>();
  for (const { node, slot } of places) {
    const value = valueAt(node, slot);
    if (value && slot.side === 'input' && graph.store.constant(value)) node.setInput(slot.index, shiftedConstant(value, constants, graph));
    if (slot.zeroPoint !== undefined) shiftZeroPoint(node, slot, { constants, graph });
    node.attributes.delete('output_dtype');
  }
  for (const value of values) if (!graph.store.constant(value)) declare(value, 'uint8');
}

function shiftZeroPoint(
  node: Node,
  { zeroPoint = 0, scale }: CodeSlot,
  { constants, graph }: { constants: Map<Value, Value>; graph: QuantizedGraph },
): void {
  const value = node.inputs[zeroPoint] ?? null;
  if (value) {
    node.setInput(zeroPoint, shiftedConstant(value, constants, graph));
    return;
  }
  const scaleConstant = scale === undefined ? undefined : graph.store.constant(node.inputs[scale]);
  const dims = scaleConstant?.tensor.dims ?? [];
  const codes = new Uint8Array(byteCount('uint8', elementCount(dims))).fill(SHIFT);
  node.setInput(zeroPoint, graph.addConstant(node, 'zero_point_u8', tensorOf('uint8', dims, codes)));
}

function shiftedConstant(value: Value, constants: Map<Value, Value>, graph: QuantizedGraph): Value {
  const known = constants.get(value);
  if (known) return known;
  const constant = graph.store.constant(value);
  if (!constant) throw new Error(`"${value.name}" is no constant`);
  const made = graph.store.add(constant, '_u8', shifted(constant.tensor)).value;
  constants.set(value, made);
  return made;
}

function declare(value: Value, dataType: DataType): void {
  if (value.type?.kind === 'tensor') value.type = { ...value.type, dataType };
}
