/** Options of activation compression, as the recipe writes them. */
export interface ActivationCompressionOptions {
  /** Bits of the codes of maps that the model computes in float; quantized maps keep theirs. Default 8. */
  readonly bits?: number;
  /** Rows of a tile that is read without the others. Default 8, or 1 for an accelerator that works in tiles. */
  readonly tile_rows?: number;
  /** Columns of a tile. Default 128, or 512 for single rows. */
  readonly tile_columns?: number;
  /** Calibration samples that the maps are coded on. Default 32. */
  readonly samples?: number;
}
