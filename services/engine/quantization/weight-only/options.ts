/** Options of weight-only, as the recipe writes them. */

/** Bits by the name of the node in the report. */
export type LayerBits = ReadonlyMap<string, 2 | 3 | 4 | 8 | 32>;

export type WeightAlgorithm = 'rtn' | 'mse' | 'hqq' | 'k-quant' | 'gptq' | 'coordinate-descent' | 'awq';

export interface WeightOnlyOptions {
  /** Bits of the weights of MatMul and Gemm. Default 4. */
  readonly bits?: 2 | 4 | 8;
  /**
   * Default 'k-quant'; 'gptq', 'coordinate-descent', 'awq' and 'block-reconstruction' need data. The last is for convolutions; matrices get
   * 'gptq'.
   */
  readonly algorithm?: WeightAlgorithm | 'block-reconstruction';
  /** Weights along the reduced axis that share a scale. Default 32. */
  readonly block_size?: 16 | 32 | 64 | 128 | 256;
  /** Zero point in the middle of the codes. Default false. */
  readonly symmetric?: boolean;
  /** How MatMul weights are stored: com.microsoft MatMulNBits (default), or DequantizeLinear in blocks (operator set 21). */
  readonly format?: 'matmul-nbits' | 'dequantize-linear';
  /** Precision of the activations inside MatMulNBits: 1 float32, 4 int8 in blocks. Default 4, 1 for 'objective: size' without loss. */
  readonly accuracy_level?: 1 | 4;
  /** Bits of embedding tables; 32 leaves them. Default: 8. */
  readonly embedding_bits?: 4 | 8 | 32;
  /** Bits of convolution weights, stored and widened when the model loads; 32 leaves them. Default 8. */
  readonly conv_bits?: 2 | 3 | 4 | 8 | 32;
  /** Bits of the weights of LSTM, GRU and RNN, stored and widened when the model loads; 32 leaves them. Default 8. */
  readonly recurrent_bits?: 4 | 8 | 32;
  /** First and last layer stay at 8 bits. Default true. */
  readonly protect_ends?: boolean;
  readonly op_types?: readonly string[];
  readonly exclude?: readonly string[];
  /** Bits of single nodes by name, before everything else that decides about bits; 32 leaves the node. For mixed-precision, not for recipes. */
  readonly layer_bits?: LayerBits;
}

/** What rounds matrices in blocks. */
export function matrixAlgorithm({ algorithm = 'k-quant' }: WeightOnlyOptions): WeightAlgorithm {
  return algorithm === 'block-reconstruction' ? 'gptq' : algorithm;
}
