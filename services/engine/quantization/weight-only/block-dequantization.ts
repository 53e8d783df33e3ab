/** The portable form of a product with few bits: its weight behind DequantizeLinear in blocks (operator set 21). */
import { attributeOf, byteCount, float32Tensor, type Tensor, tensorOf } from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import type { BlockedWeights } from './blocked-weights.js';
import { packRows } from './code-packing.js';

/** From this version on DequantizeLinear takes blocks and 4-bit codes. */
export const OPSET_OF_BLOCKS = 21;

/**
 * Codes [depth, channels] with scales [blocks, channels], blocks along axis 0: the one layout that the runtime fuses with the product
 * behind it (onnxruntime.md 1.5), hence transB of a Gemm and a Transpose in front of a MatMul are carried out here. Each product has a
 * DequantizeLinear of its own, as one with two readers is not fused; the constants are shared.
 */
export class DequantizedBlocks {
  private constants: readonly Constant[] | undefined;

  constructor(
    private readonly store: WeightStore,
    private readonly constant: Constant,
    private readonly weights: BlockedWeights,
  ) {}

  feed({ node }: DenseLayer): void {
    const { blockSize } = this.weights;
    const output = this.store.newValue(`${this.constant.value.name}_widened`);
    const inputs = this.parts().map(({ value }) => value);
    const attributes = { axis: attributeOf.int(0), block_size: attributeOf.int(blockSize) };
    const dequantize = this.store.newNode({ opType: 'DequantizeLinear', inputs, outputs: [output], attributes }, output.name);
    this.store.insertFirst(this.constant.graph, dequantize);
    node.setInput(1, output);
    node.attributes.delete('transB');
  }

  private parts(): readonly Constant[] {
    this.constants ??= this.addParts();
    return this.constants;
  }

  private addParts(): Constant[] {
    const { codes, scales, zeroPoints, channels, depth, blocks } = this.weights;
    const reducedFirst = <T extends Uint8Array | Float32Array>(values: T, columns: number): T => transposed(values, channels, columns);
    return [
      this.store.add(this.constant, `_${this.weights.bits}bit`, this.codeTensor([depth, channels], reducedFirst(codes, depth))),
      this.store.add(this.constant, '_scale', float32Tensor([blocks, channels], reducedFirst(scales, blocks))),
      this.store.add(this.constant, '_zero_point', this.codeTensor([blocks, channels], reducedFirst(zeroPoints, blocks))),
    ];
  }

  private codeTensor(dims: readonly [number, number], codes: Uint8Array): Tensor {
    const type = this.weights.bits === 8 ? 'uint8' : 'uint4';
    const bytes = packRows(codes, { length: codes.length, bits: this.weights.bits });
    if (bytes.length !== byteCount(type, codes.length))
      throw new Error(`DequantizedBlocks: ${this.weights.bits} bits have no ONNX type here`);
    return tensorOf(type, dims, bytes);
  }
}

/** [rows, columns] to [columns, rows]. */
function transposed<T extends Uint8Array | Float32Array>(values: T, rows: number, columns: number): T {
  const result = values.slice() as T;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) result[column * rows + row] = values[row * columns + column] ?? 0;
  }
  return result;
}
