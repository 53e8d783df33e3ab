/** A rewrite as data: nodes to insert, values to redirect, nodes to remove. Passes make patches, the editor applies them. */
import type { Node, Value } from '../ir/index.js';

export interface Rewrite {
  /** One sentence for the report: what is done and why it is exact. */
  readonly reason: string;
  /** The node in whose place the patch stands; new nodes go in front of it. */
  readonly anchor: Node;
  readonly insert?: readonly Node[];
  /** Further insertions, each in front of a node of its own. */
  readonly insertAt?: readonly { readonly anchor: Node; readonly nodes: readonly Node[] }[];
  /** Readers of the first value read the second one instead. */
  readonly redirect?: readonly (readonly [from: Value, to: Value])[];
  /** Nodes whose outputs nobody reads once the redirections are made. Others that die are left to dead-code elimination. */
  readonly remove?: readonly Node[];
  /** Nodes that leave because an inserted node of the same name does their work: reported as changed, not as removed. */
  readonly replaced?: readonly Node[];
}
