/** Options of float16, as the recipe writes them. */

export interface Float16Options {
  /** 'graph' (default): the graph computes in float16 where it can. 'storage': weights only. */
  readonly compute?: 'graph' | 'storage';
  readonly type?: 'float16' | 'bfloat16';
  /** Operators that stay float32, beside those that always do. */
  readonly keep_op_types?: readonly string[];
  readonly exclude?: readonly string[];
}
