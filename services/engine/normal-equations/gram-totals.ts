/** What is added up of the rows of one layer: the matrix of their products, and their mean. */
import { groupsOf, type RowLayer } from './layer-rows.js';

export interface GramMatrix {
  /** [groups, K, K]: the sum over all rows x of x x^T; K in the order of the flattened weight of one output. */
  readonly gram: Float64Array;
  readonly groups: number;
  readonly depth: number;
  /** Rows that were summed. */
  readonly rows: number;
  /** [groups, K]: the mean of the rows. */
  readonly mean: Float64Array;
}

export class GramTotals {
  private readonly gram: Float64Array;
  private readonly mean: Float64Array;
  private rows = 0;

  constructor(private readonly layer: RowLayer) {
    const groups = groupsOf(layer);
    this.gram = new Float64Array(groups * layer.depth ** 2);
    this.mean = new Float64Array(groups * layer.depth);
  }

  add(gram: Float32Array, mean: Float32Array, rows: number): void {
    addTo(this.gram, gram, 1);
    addTo(this.mean, mean, rows);
    this.rows += rows;
  }

  result(): GramMatrix {
    const { depth } = this.layer;
    return { gram: this.gram, groups: groupsOf(this.layer), depth, rows: this.rows, mean: this.mean.map((sum) => sum / this.rows) };
  }
}

/** A loop over indices: iterators took most of the time. */
function addTo(sums: Float64Array, values: Float32Array, factor: number): void {
  for (let at = 0; at < values.length; at += 1) sums[at] = (sums[at] ?? 0) + factor * (values[at] ?? 0);
}
