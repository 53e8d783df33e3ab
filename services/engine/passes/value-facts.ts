/** Static facts about values: element type, shape with symbolic sizes, and the elements of small integer tensors. */
import { type DataType, elementCount, integerValues, type Shape, type Tensor, type Value, type ValueType } from '../ir/index.js';

/** A size or an integer element: a number, or a symbol. Equal symbols are equal numbers in every run. */
export type Extent = number | string;

export interface ValueFact {
  readonly dataType: DataType | null;
  /** null when not even the rank is known. */
  readonly shape: readonly Extent[] | null;
  /** Row-major elements of an integer or bool tensor of at most `elementsTrackedMax` elements. */
  readonly elements: readonly Extent[] | null;
}

export const unknownFact: ValueFact = { dataType: null, shape: null, elements: null };

/** Shape arithmetic handles vectors of a few entries; longer integer tensors are data. */
export const elementsTrackedMax = 64;

/** Expressions beyond this length become opaque symbols, so that facts stay small. */
const expressionLengthMax = 96;

let symbolsMade = 0;

/** A size of which nothing is known but that it is one number, at least 0, in each run. */
export function freshSize(): string {
  symbolsMade += 1;
  return `d${symbolsMade}`;
}

/** An integer element of which nothing is known; unlike a size it may be negative. */
export function freshElement(): string {
  symbolsMade += 1;
  return `!${symbolsMade}`;
}

/** True for symbols that stand for a size or a product of sizes, hence cannot be negative. */
export function isSizeSymbol(extent: Extent): boolean {
  return typeof extent === 'string' && /^[d\d*()]+$/.test(extent);
}

function expression(left: Extent, operator: string, right: Extent, commutative: boolean): Extent {
  const [first, second] = commutative && String(left) > String(right) ? [right, left] : [left, right];
  const text = `(${first}${operator}${second})`;
  if (text.length <= expressionLengthMax) return text;
  return operator === '*' && [left, right].every((side) => typeof side === 'number' || isSizeSymbol(side)) ? freshSize() : freshElement();
}

/**
 * int64 results as JavaScript numbers are believed only while every number is exact. Larger ones (2^63 - 1 for "to the
 * end") pass through unchanged and stay good enough for Slice, which clamps them.
 */
export function exactly(compute: (left: number, right: number) => number, left: number, right: number): Extent {
  const value = compute(left, right);
  return [left, right, value].every(Number.isSafeInteger) ? value : freshElement();
}

export function addExtents(left: Extent, right: Extent): Extent {
  if (typeof left === 'number' && typeof right === 'number') return exactly((a, b) => a + b, left, right);
  if (left === 0) return right;
  return right === 0 ? left : expression(left, '+', right, true);
}

export function subtractExtents(left: Extent, right: Extent): Extent {
  if (typeof left === 'number' && typeof right === 'number') return exactly((a, b) => a - b, left, right);
  if (left === right) return 0;
  return right === 0 ? left : expression(left, '-', right, false);
}

export function multiplyExtents(left: Extent, right: Extent): Extent {
  if (typeof left === 'number' && typeof right === 'number') return exactly((a, b) => a * b + 0, left, right);
  if (left === 0 || right === 0) return 0;
  if (left === 1) return right;
  return right === 1 ? left : expression(left, '*', right, true);
}

/** ONNX integer division truncates towards zero; division by zero stays unknown. */
export function divideExtents(left: Extent, right: Extent): Extent {
  if (typeof left === 'number' && typeof right === 'number')
    return right === 0 ? freshElement() : exactly((a, b) => Math.trunc(a / b) + 0, left, right);
  return right === 1 ? left : expression(left, '/', right, false);
}

export function productOfExtents(extents: readonly Extent[]): Extent {
  return extents.reduce(multiplyExtents, 1);
}

export function allNumbers(extents: readonly Extent[] | null): extents is readonly number[] {
  return extents?.every((extent) => typeof extent === 'number') ?? false;
}

/** One axis of numpy broadcasting: sizes are equal or one of them is 1. */
export function broadcastExtent(left: Extent, right: Extent): Extent {
  if (left === right || right === 1) return left;
  if (left === 1) return right;
  if (typeof left === 'number') return left;
  if (typeof right === 'number') return right;
  return freshSize();
}

export function broadcastShapes(shapes: readonly (readonly Extent[] | null)[]): readonly Extent[] | null {
  let result: readonly Extent[] = [];
  for (const shape of shapes) {
    if (!shape) return null;
    const rank = Math.max(result.length, shape.length);
    const paddedResult = [...Array<Extent>(rank - result.length).fill(1), ...result];
    const paddedShape = [...Array<Extent>(rank - shape.length).fill(1), ...shape];
    result = paddedResult.map((extent, axis) => broadcastExtent(extent, paddedShape[axis] ?? 1));
  }
  return result;
}

export function normalizeAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

const trackedTypes: ReadonlySet<DataType> = new Set(['int64', 'int32', 'bool']);

export function isTrackedType(dataType: DataType | null): boolean {
  return dataType !== null && trackedTypes.has(dataType);
}

export function factOfTensor(tensor: Tensor): ValueFact {
  const tracked = isTrackedType(tensor.dataType) && elementCount(tensor.dims) <= elementsTrackedMax;
  return { dataType: tensor.dataType, shape: tensor.dims, elements: tracked ? integerValues(tensor) : null };
}

/** What a declared type says. Named sizes are not trusted to be equal: onnxruntime does not enforce it. */
export function factOfType(type: ValueType | null): ValueFact {
  if (type?.kind !== 'tensor') return unknownFact;
  return { dataType: type.dataType, shape: sizesOf(type.shape), elements: null };
}

function sizesOf(shape: Shape | null): readonly Extent[] | null {
  return shape?.map((size) => (typeof size === 'number' ? size : freshSize())) ?? null;
}

/** The element type that a value is declared with, if it is a tensor. */
export function declaredDataType(value: Value): DataType | null {
  return value.type?.kind === 'tensor' ? value.type.dataType : null;
}
