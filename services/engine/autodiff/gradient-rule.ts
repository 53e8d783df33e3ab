/** What a gradient rule reads and returns. */
import type { Graph, GraphWriter, Node, Tensor, Value } from '../ir/index.js';

/** One node on the way back: the gradients of its outputs are known, those of its inputs are asked for. */
export interface BackwardStep {
  readonly node: Node;
  /** dL/dy of each output; null where no gradient arrives. At least one is there. */
  readonly gradients: readonly (Value | null)[];
  /** Writes behind everything that the graph computes so far. */
  readonly write: GraphWriter;
  /** True when somebody needs the gradient of input `index`. */
  wants(index: number): boolean;
  /** Sizes of a value of the forward graph. Throws EngineError `model_unsupported` when they are not known. */
  shape(value: Value | null | undefined): readonly number[];
  /** Output `index` of the node, added to it when it was omitted so far. */
  output(index: number): Value;
  /** The tensor of a value that is the same in every run. */
  constant(value: Value | null | undefined): Tensor | undefined;
  /** Values from outside that the subgraphs of the node read and whose gradients somebody needs. */
  readonly captured: readonly Value[];
  /** Adds to the gradient of one of them. */
  give(value: Value, gradient: Value): void;
  /** Gradients of `wrt` (default `captured`), written behind the nodes of `graph`: a copy of a subgraph of the node, with dL/dy of its outputs. */
  gradientsIn(graph: Graph, cotangents: ReadonlyMap<Value, Value>, wrt?: readonly Value[]): ReadonlyMap<Value, Value>;
}

/** dL/dx of each input, each in the shape of its input; null or missing where nothing flows or nobody asked. */
export type GradientRule = (step: BackwardStep) => readonly (Value | null | undefined)[];

/**
 * What is known of an operator:
 * - a rule;
 * - 'constant': its outputs do not change with small changes of its inputs (comparisons, rounding, indices, shapes);
 * - 'unsupported': it has a gradient, and no rule yet.
 */
export type Differentiability = GradientRule | 'constant' | 'unsupported';
