/** Fact inference for operators that move, cut, join or count elements. */
import { dataTypeFromCode, intAttribute, intsAttribute, type Node } from '../ir/index.js';
import type { FactView, InferenceRule } from './infer-rule.js';
import { axesOperand, axisAttribute, clampSlice, permutation, type SliceAxis, sliceOperands } from './operand-forms.js';
import {
  addExtents,
  allNumbers,
  broadcastShapes,
  type Extent,
  elementsTrackedMax,
  factOfTensor,
  freshSize,
  isSizeSymbol,
  multiplyExtents,
  normalizeAxis,
  productOfExtents,
  unknownFact,
  type ValueFact,
} from './value-facts.js';

/** A size out of an element that is used as one. */
function sizeFrom(element: Extent): Extent {
  return typeof element === 'number' || isSizeSymbol(element) ? element : freshSize();
}

/** Extents cancel by name: (a*b)/(a*c) with atoms listed, so that Reshape can infer its -1. */
function factors(extents: readonly Extent[]): { constant: number; symbols: string[] } {
  let constant = 1;
  const symbols: string[] = [];
  for (const extent of extents) {
    if (typeof extent === 'number') constant *= extent;
    else
      symbols.push(
        ...extent
          .replaceAll(/[()]/g, '')
          .split('*')
          .filter((part) => !/^\d+$/.test(part)),
      );
    if (typeof extent === 'string')
      for (const part of extent.replaceAll(/[()]/g, '').split('*')) if (/^\d+$/.test(part)) constant *= Number(part);
  }
  return { constant, symbols };
}

function quotient(numerator: readonly Extent[], denominator: readonly Extent[]): Extent {
  if (![...numerator, ...denominator].every((extent) => typeof extent === 'number' || isSizeSymbol(extent))) return freshSize();
  const above = factors(numerator);
  const below = factors(denominator);
  if (below.constant === 0 || above.constant % below.constant !== 0) return freshSize();
  const remaining = [...above.symbols];
  for (const symbol of below.symbols) {
    const at = remaining.indexOf(symbol);
    if (at < 0) return freshSize();
    remaining.splice(at, 1);
  }
  return remaining.reduce<Extent>(multiplyExtents, above.constant / below.constant);
}

/** The output shape of Reshape from the elements of its shape operand. */
export function reshapedShape(input: readonly Extent[] | null, target: readonly Extent[], allowZero: boolean): readonly Extent[] {
  const sizes = target.map((element, axis) => (element === 0 && !allowZero ? (input?.[axis] ?? freshSize()) : element));
  const inferred = sizes.indexOf(-1);
  if (inferred < 0) return sizes.map(sizeFrom);
  const others = sizes.filter((_, axis) => axis !== inferred).map(sizeFrom);
  const size = input ? quotient(input, others) : freshSize();
  return [...others.slice(0, inferred), size, ...others.slice(inferred)];
}

const reshape: InferenceRule = (node, view) => {
  const input = view.fact(node.inputs[0]);
  const target = view.fact(node.inputs[1]);
  const attribute = intsAttribute(node, 'shape', undefined);
  const elements = attribute ?? target.elements;
  if (elements) {
    const shape = reshapedShape(input.shape, elements, intAttribute(node, 'allowzero', 0) !== 0);
    return [{ dataType: input.dataType, shape, elements: input.elements }];
  }
  const rank = target.shape?.[0];
  return [{ dataType: input.dataType, shape: typeof rank === 'number' ? Array.from({ length: rank }, freshSize) : null, elements: null }];
};

const flatten: InferenceRule = (node, view) => {
  const input = view.fact(node.inputs[0]);
  if (!input.shape) return [{ ...unknownFact, dataType: input.dataType }];
  const axis = axisAttribute(node, 1, input.shape.length);
  const shape = [productOfExtents(input.shape.slice(0, axis)), productOfExtents(input.shape.slice(axis))];
  return [{ dataType: input.dataType, shape, elements: input.elements }];
};

/** Output shape of Squeeze; null when sizes that decide it are unknown. */
function squeezedShape(shape: readonly Extent[], axes: readonly number[] | 'absent' | undefined): readonly Extent[] | null {
  if (axes === undefined) return null;
  if (axes === 'absent') return allNumbers(shape) ? shape.filter((size) => size !== 1) : null;
  const dropped = new Set(axes.map((axis) => normalizeAxis(axis, shape.length)));
  return shape.filter((_, axis) => !dropped.has(axis));
}

const squeeze: InferenceRule = (node, view) => {
  const input = view.fact(node.inputs[0]);
  const shape = input.shape && squeezedShape(input.shape, axesOperand(node, 1, view));
  return [{ dataType: input.dataType, shape, elements: shape ? input.elements : null }];
};

const unsqueeze: InferenceRule = (node, view) => {
  const input = view.fact(node.inputs[0]);
  const axes = axesOperand(node, 1, view);
  if (!input.shape || axes === undefined || axes === 'absent') return [{ ...unknownFact, dataType: input.dataType }];
  const rank = input.shape.length + axes.length;
  const added = new Set(axes.map((axis) => normalizeAxis(axis, rank)));
  const sizes = [...input.shape];
  const shape = Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : (sizes.shift() ?? 1)));
  return [{ dataType: input.dataType, shape, elements: input.elements }];
};

const transpose: InferenceRule = (node, view) => {
  const { dataType, shape, elements } = view.fact(node.inputs[0]);
  if (!shape) return [{ ...unknownFact, dataType }];
  const result = permutation(node, shape.length).map((axis) => shape[axis] ?? 1);
  return [{ dataType, shape: result, elements: shape.length < 2 ? elements : null }];
};

const concat: InferenceRule = (node, view) => {
  const facts = node.inputs.map((input) => view.fact(input));
  const dataType = facts[0]?.dataType ?? null;
  const known = facts.find((fact) => fact.shape)?.shape;
  if (!known) return [{ ...unknownFact, dataType }];
  const axis = axisAttribute(node, 1, known.length);
  const joined = facts.every((fact) => fact.shape) ? facts.map((fact) => fact.shape?.[axis] ?? 1).reduce(addExtents, 0) : freshSize();
  const sizes = known.map((size, at) => facts.map((fact) => fact.shape?.[at]).find((other) => typeof other === 'number') ?? size);
  const shape = sizes.map((size, at) => (at === axis ? sizeFrom(joined) : size));
  const elements = known.length === 1 && facts.every((fact) => fact.elements) ? facts.flatMap((fact) => fact.elements ?? []) : null;
  return [{ dataType, shape, elements: elements && elements.length <= elementsTrackedMax ? elements : null }];
};

const gather: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const indices = view.fact(node.inputs[1]);
  if (!data.shape || !indices.shape) return [{ ...unknownFact, dataType: data.dataType }];
  const axis = axisAttribute(node, 0, data.shape.length);
  const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)];
  const source = data.shape.length === 1 ? data.elements : null;
  const positions = view.integers(node.inputs[1]);
  const elements = source && positions ? positions.map((at) => source[normalizeAxis(at, source.length)] ?? freshSize()) : null;
  return [{ dataType: data.dataType, shape, elements }];
};

function slicedExtent(size: Extent, slice: SliceAxis): Extent {
  if (typeof size === 'number') return clampSlice(slice, size).count;
  if (slice.start === 0 && slice.step === 1 && slice.end >= 2 ** 31 - 1) return size;
  return freshSize();
}

const slice: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const slices = sliceOperands(node, view);
  if (!data.shape) return [{ ...unknownFact, dataType: data.dataType }];
  if (!slices) return [{ dataType: data.dataType, shape: data.shape.map(freshSize), elements: null }];
  const byAxis = new Map(slices.map((entry) => [entry.axis, entry]));
  const shape = data.shape.map((size, axis) => {
    const entry = byAxis.get(axis);
    return entry ? slicedExtent(size, entry) : size;
  });
  const only = slices[0];
  const source = data.elements;
  if (!source || data.shape.length !== 1 || !only || slices.length !== 1) return [{ dataType: data.dataType, shape, elements: null }];
  const { start, count } = clampSlice(only, source.length);
  const elements = Array.from({ length: count }, (_, step) => source[start + step * only.step] ?? freshSize());
  return [{ dataType: data.dataType, shape, elements }];
};

const split: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const { shape } = data;
  if (!shape) return node.outputs.map(() => ({ ...unknownFact, dataType: data.dataType }));
  const axis = axisAttribute(node, 0, shape.length);
  const size = shape[axis];
  const parts = intsAttribute(node, 'split', undefined) ?? view.integers(node.inputs[1]);
  const even = typeof size === 'number' && !node.inputs[1] ? Math.ceil(size / node.outputs.length) : undefined;
  return node.outputs.map((_, index) => {
    const isLast = index === node.outputs.length - 1;
    const own = parts?.[index] ?? (even !== undefined && typeof size === 'number' ? (isLast ? size - even * index : even) : freshSize());
    return { dataType: data.dataType, shape: shape.map((extent, at) => (at === axis ? own : extent)), elements: null };
  });
};

const expand: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const target = view.fact(node.inputs[1]);
  const shape = target.elements && broadcastShapes([data.shape, target.elements.map(sizeFrom)]);
  const unchanged = shape && data.shape && productOfExtents(shape) === 1 ? data.elements : null;
  return [{ dataType: data.dataType, shape, elements: unchanged }];
};

const tile: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const repeats = view.fact(node.inputs[1]).elements;
  const shape = data.shape?.map((size, axis) => (repeats ? sizeFrom(multiplyExtents(size, repeats[axis] ?? 1)) : freshSize())) ?? null;
  return [{ dataType: data.dataType, shape, elements: null }];
};

const constantOfShape: InferenceRule = (node, view) => {
  const target = view.fact(node.inputs[0]);
  const value = node.attributes.get('value');
  const dataType = value?.kind === 'tensor' ? value.value.dataType : 'float32';
  const rank = target.shape?.[0];
  const shape = target.elements?.map(sizeFrom) ?? (typeof rank === 'number' ? Array.from({ length: rank }, freshSize) : null);
  const fill = value?.kind === 'tensor' ? factOfTensor(value.value).elements?.[0] : undefined;
  const count = shape && productOfExtents(shape);
  const small = fill !== undefined && typeof count === 'number' && count <= elementsTrackedMax;
  return [{ dataType, shape, elements: small ? Array<Extent>(count).fill(fill) : null }];
};

const shapeOf: InferenceRule = (node, view) => {
  const { shape } = view.fact(node.inputs[0]);
  if (!shape) return [{ dataType: 'int64', shape: [freshSize()], elements: null }];
  const clamp = (position: number) => Math.min(Math.max(normalizeAxis(position, shape.length), 0), shape.length);
  const elements = shape.slice(clamp(intAttribute(node, 'start', 0)), clamp(intAttribute(node, 'end', shape.length)));
  return [{ dataType: 'int64', shape: [elements.length], elements }];
};

const size: InferenceRule = (node, view) => {
  const { shape } = view.fact(node.inputs[0]);
  return [{ dataType: 'int64', shape: [], elements: shape ? [productOfExtents(shape)] : null }];
};

const range: InferenceRule = (node, view) => {
  const dataType = view.fact(node.inputs[0]).dataType;
  const [start, limit, delta] = [0, 1, 2].map((index) => view.integers(node.inputs[index])?.[0]);
  if (start === undefined || limit === undefined || !delta) return [{ dataType, shape: [freshSize()], elements: null }];
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  const elements = count <= elementsTrackedMax ? Array.from({ length: count }, (_, step) => start + step * delta) : null;
  return [{ dataType, shape: [count], elements }];
};

const pad: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const pads = intsAttribute(node, 'pads', undefined) ?? view.integers(node.inputs[1]);
  const rank = data.shape?.length ?? 0;
  const known = pads && !node.inputs[3] && pads.length === 2 * rank ? pads : undefined;
  const shape = data.shape?.map((extent, axis) =>
    known ? sizeFrom(addExtents(extent, (known[axis] ?? 0) + (known[axis + rank] ?? 0))) : freshSize(),
  );
  return [{ dataType: data.dataType, shape: shape ?? null, elements: null }];
};

const oneHot: InferenceRule = (node, view) => {
  const indices = view.fact(node.inputs[0]);
  const depth = view.integers(node.inputs[1])?.[0] ?? freshSize();
  const dataType = view.fact(node.inputs[2]).dataType;
  if (!indices.shape) return [{ ...unknownFact, dataType }];
  const axis = axisAttribute(node, -1, indices.shape.length + 1);
  return [{ dataType, shape: [...indices.shape.slice(0, axis), depth, ...indices.shape.slice(axis)], elements: null }];
};

function blockMove(node: Node, view: FactView, direction: 'depth' | 'space'): ValueFact[] {
  const { dataType, shape } = view.fact(node.inputs[0]);
  const block = intAttribute(node, 'blocksize', 1);
  const [batch, channels, height, width] = shape ?? [];
  if (!shape || !allNumbers(shape) || shape.length !== 4) return [{ dataType, shape: shape?.map(freshSize) ?? null, elements: null }];
  const [c, h, w] = [Number(channels), Number(height), Number(width)];
  const moved = direction === 'depth' ? [c / block ** 2, h * block, w * block] : [c * block ** 2, h / block, w / block];
  return [{ dataType, shape: [batch ?? 1, ...moved], elements: null }];
}

export const movementRules: Readonly<Record<string, InferenceRule>> = {
  Shape: shapeOf,
  Size: size,
  Reshape: reshape,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
  Concat: concat,
  Gather: gather,
  GatherElements: (node, view) => [{ ...view.fact(node.inputs[1]), dataType: view.fact(node.inputs[0]).dataType, elements: null }],
  Slice: slice,
  Split: split,
  Expand: expand,
  Tile: tile,
  ConstantOfShape: constantOfShape,
  Range: range,
  Pad: pad,
  OneHot: oneHot,
  DepthToSpace: (node, view) => blockMove(node, view, 'depth'),
  SpaceToDepth: (node, view) => blockMove(node, view, 'space'),
  QuantizeLinear: (node, view) => {
    const code = intAttribute(node, 'output_dtype', 0);
    const declared = code === 0 ? view.fact(node.inputs[2]).dataType : (dataTypeFromCode(code) ?? null);
    return [{ dataType: node.inputs[2] || code !== 0 ? declared : 'uint8', shape: view.fact(node.inputs[0]).shape, elements: null }];
  },
  DequantizeLinear: (node, view) => [
    { dataType: view.fact(node.inputs[1]).dataType, shape: view.fact(node.inputs[0]).shape, elements: null },
  ],
  DynamicQuantizeLinear: (node, view) => [
    { dataType: 'uint8', shape: view.fact(node.inputs[0]).shape, elements: null },
    { dataType: 'float32', shape: [], elements: null },
    { dataType: 'uint8', shape: [], elements: null },
  ],
};
