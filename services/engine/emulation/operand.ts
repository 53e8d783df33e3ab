/** Reading the operands of integer operators out of tensors. */
import { EngineError } from '../engine-errors.js';
import { elementCount, float32Values, integerValues, type Node, type Tensor } from '../ir/index.js';
import type { CodeType } from './requantization.js';

export type Codes = Uint8Array | Int8Array;

/** Inputs of a node by position; null where an optional one is omitted. */
export type Inputs = readonly (Tensor | null)[];

export function required(node: Node, inputs: Inputs, index: number): Tensor {
  const tensor = inputs[index];
  if (!tensor) throw new EngineError('model_invalid', `${node.opType} "${node.name}" has no input ${index}.`);
  return tensor;
}

/** A view of 8-bit codes. */
export function codesOf(tensor: Tensor): Codes {
  const bytes = tensor.data.read();
  return tensor.dataType === 'int8' ? new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : bytes;
}

export function codeType(tensor: Tensor): CodeType {
  return tensor.dataType === 'int8' ? 'int8' : 'uint8';
}

export function scalarOf(tensor: Tensor | null | undefined, fallback: number): number {
  if (!tensor) return fallback;
  return (tensor.dataType === 'float32' ? float32Values(tensor)[0] : integerValues(tensor)[0]) ?? fallback;
}

/** One number, or one per output channel. */
export function perChannel(node: Node, tensor: Tensor | null | undefined, channels: number, fallback: number): number[] {
  if (!tensor) return [fallback];
  const values = tensor.dataType === 'float32' ? [...float32Values(tensor)] : integerValues(tensor);
  if (values.length === 1 || values.length === channels) return values;
  throw new EngineError(
    'model_unsupported',
    `The saturating kernel cannot be emulated for ${node.opType} "${node.name}": its parameters have shape [${tensor.dims}]. Give it one scale, or one per output channel.`,
  );
}

export function int32Values(tensor: Tensor): Int32Array {
  return Int32Array.from(integerValues(tensor));
}

/** [..., rows, columns] with the last two axes exchanged. */
export function transposedCodes(codes: Codes, rows: number, columns: number): Codes {
  const result = codes.slice();
  const size = rows * columns;
  for (let base = 0; base < codes.length; base += size) {
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1)
        result[base + column * rows + row] = codes[base + row * columns + column] as number;
    }
  }
  return result;
}

/** Dims of a matrix operand: a vector counts as one row on the left and as one column on the right. */
export function matrixDims({ dims }: Tensor, side: 'left' | 'right'): readonly number[] {
  if (dims.length > 1) return dims;
  return side === 'left' ? [1, ...dims] : [...dims, 1];
}

/** For each matrix of the broadcast stack, which matrix of the operand it is. */
export function broadcastStack(operand: readonly number[], stack: readonly number[]): number[] {
  const offset = stack.length - operand.length;
  return Array.from({ length: elementCount(stack) }, (_, flat) => {
    let index = 0;
    let rest = flat;
    let stride = elementCount(operand);
    const position = stack.map((_, axis) => {
      const inner = elementCount(stack.slice(axis + 1));
      const at = Math.floor(rest / inner);
      rest %= inner;
      return at;
    });
    for (const [axis, size] of operand.entries()) {
      stride /= size;
      index += (size === 1 ? 0 : (position[axis + offset] ?? 0)) * stride;
    }
    return index;
  });
}
