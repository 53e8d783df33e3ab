/** The pass contract: a pass reads a node and its neighbourhood and returns a patch; the pass manager applies and verifies it. */
import type { Graph, Node } from '../ir/index.js';
import type { ModelEditor } from './model-editor.js';
import type { ModelFacts } from './model-facts.js';
import type { Rewrite } from './rewrite.js';

export interface PassScope {
  /** The graph that holds the node. */
  readonly graph: Graph;
  readonly facts: ModelFacts;
  readonly editor: ModelEditor;
  /** Version of the ONNX operator set. */
  readonly opset: number;
}

/**
 * One rewriting rule. `rewrite` is called for each node whose operator is in `opTypes`, in graph order; the order is
 * the cursor, so a round costs one visit per node. It changes nothing but through the patch that it returns.
 */
export interface Pass {
  readonly name: string;
  readonly opTypes: readonly string[];
  rewrite(node: Node, scope: PassScope): Rewrite | null;
}

/** A pass over a whole graph, for what cannot be said about one node: dead code, common subexpressions. */
export interface GraphPass {
  readonly name: string;
  /** Returns true when it changed the graph. */
  run(graph: Graph, scope: Omit<PassScope, 'graph'>): boolean;
}
