/** The constants of a model and what reads them, to go back to. */
import type { Model, Node, Tensor, Value } from '../../ir/index.js';

export interface WeightSnapshot {
  /** Undoes changes of constants and of inputs of nodes in the main graph. */
  restore(): void;
}

export function weightSnapshot({ graph }: Model): WeightSnapshot {
  const tensors = new Map<Value, Tensor>(graph.initializers);
  const inputs = new Map<Node, readonly (Value | null)[]>(graph.nodes.map((node) => [node, [...node.inputs]]));
  return {
    restore() {
      graph.initializers.clear();
      for (const [value, tensor] of tensors) graph.initializers.set(value, tensor);
      for (const [node, values] of inputs) {
        for (const [index, value] of values.entries()) if (node.inputs[index] !== value) node.setInput(index, value);
        node.truncateInputs(values.length);
      }
    },
  };
}
