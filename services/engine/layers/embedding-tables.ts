/** Recognises Gather nodes that look rows up in a large constant table, and says of the others why they are left. */
import { elementCount, float32Values, intAttribute, type Node, type Value } from '../ir/index.js';
import { allFinite } from './finite-values.js';
import type { Constant, WeightStore } from './weight-store.js';

export interface EmbeddingLookup {
  readonly kind: 'embedding';
  readonly node: Node;
  /** [rows, columns]. */
  readonly table: Constant;
  readonly indices: Value;
}

/** Below this size the three nodes that widen the looked-up rows cost more than the bytes are worth. */
const TABLE_BYTES_MIN = 32_768;

/** The lookup that a Gather node is, the reason why it is left, or null for a Gather that has nothing to do with weights. */
export function embeddingLookup(node: Node, store: WeightStore): EmbeddingLookup | { readonly reason: string } | null {
  const table = store.constant(node.inputs[0]);
  const indices = node.inputs[1];
  if (!table || !indices) return null;
  const { tensor } = table;
  if (tensor.dataType !== 'float32') return null;
  if (tensor.data.byteLength < TABLE_BYTES_MIN) return { reason: `its table has ${tensor.data.byteLength} bytes only` };
  if (tensor.dims.length !== 2 || intAttribute(node, 'axis', 0) !== 0) return { reason: 'it does not look up the rows of a matrix' };
  if (elementCount(tensor.dims) === 0 || !allFinite(float32Values(tensor)))
    return { reason: 'its table holds values that are not finite numbers' };
  return { kind: 'embedding', node, table, indices };
}
