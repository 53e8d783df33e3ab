/** What is statically known about every value of a model: one forward walk over the graphs, repeated when more becomes known. */
import { type DataType, type Graph, type Model, type Node, type Tensor, tensorOf, type Value } from '../ir/index.js';
import { contractionRules } from './infer-contraction.js';
import { elementwiseRules } from './infer-elementwise.js';
import { movementRules } from './infer-movement.js';
import type { FactView, InferenceRule } from './infer-rule.js';
import {
  allNumbers,
  declaredDataType,
  type Extent,
  elementsTrackedMax,
  factOfTensor,
  factOfType,
  freshSize,
  isTrackedType,
  unknownFact,
  type ValueFact,
} from './value-facts.js';

const rules: Readonly<Record<string, InferenceRule>> = { ...elementwiseRules, ...movementRules, ...contractionRules };

/** From IR version 4 on, an initializer that is also a graph input can be overridden by the caller. */
export function isOverridable(model: Model, graph: Graph, value: Value): boolean {
  return model.irVersion >= 4 && graph.isInput(value);
}

function integerTensor(dataType: DataType, dims: readonly number[], elements: readonly number[]): Tensor | undefined {
  if (!elements.every(Number.isSafeInteger)) return undefined;
  if (dataType === 'int64') return tensorOf(dataType, dims, BigInt64Array.from(elements, BigInt));
  if (dataType === 'int32') return tensorOf(dataType, dims, Int32Array.from(elements));
  return dataType === 'bool' ? tensorOf(dataType, dims, Uint8Array.from(elements)) : undefined;
}

function mergeFacts(left: ValueFact, right: ValueFact): ValueFact {
  const dataType = left.dataType ?? right.dataType;
  if (!left.shape || !right.shape || left.shape.length !== right.shape.length) return { ...unknownFact, dataType };
  const shape = left.shape.map((size, axis) => (size === right.shape?.[axis] ? size : freshSize()));
  const isSame = left.elements?.length === right.elements?.length && left.elements?.every((value, at) => value === right.elements?.[at]);
  return { dataType, shape, elements: isSame ? left.elements : null };
}

export class ModelFacts implements FactView {
  private facts = new Map<Value, ValueFact>();
  private readonly constants = new Map<Value, Tensor>();

  constructor(private readonly model: Model) {}

  get opset(): number {
    return this.model.opset;
  }

  /** Forgets the facts, keeps evaluated constants, and walks the model again. */
  refresh(): void {
    this.facts = new Map();
    this.walk(this.model.graph, true);
  }

  fact(value: Value | null | undefined): ValueFact {
    if (!value) return unknownFact;
    return this.facts.get(value) ?? { ...unknownFact, dataType: declaredDataType(value) };
  }

  shape(value: Value | null | undefined): readonly Extent[] | null {
    return this.fact(value).shape;
  }

  /** The shape when every size is a number. */
  dims(value: Value | null | undefined): readonly number[] | undefined {
    const { shape } = this.fact(value);
    return allNumbers(shape) ? shape : undefined;
  }

  integers(value: Value | null | undefined): readonly number[] | undefined {
    const { elements } = this.fact(value);
    return allNumbers(elements) ? elements : undefined;
  }

  constant(value: Value | null | undefined): Tensor | undefined {
    if (!value) return undefined;
    const known = this.constants.get(value);
    if (known) return known;
    const { dataType, shape, elements } = this.fact(value);
    if (!isTrackedType(dataType) || dataType === null || !allNumbers(shape) || !allNumbers(elements)) return undefined;
    return integerTensor(dataType, shape, elements);
  }

  /** Records that `value` is `tensor` in every run. */
  learnConstant(value: Value, tensor: Tensor): void {
    this.constants.set(value, tensor);
    this.facts.set(value, factOfTensor(tensor));
  }

  /** Infers the outputs of one node from its inputs, which must have been visited. */
  inferNode(node: Node): void {
    for (const subgraph of node.subgraphs) this.walk(subgraph, false);
    const inferred = this.inferredFacts(node);
    node.outputs.forEach((output, index) => {
      if (!output) return;
      const learnt = this.constants.get(output);
      if (learnt) this.facts.set(output, factOfTensor(learnt));
      else this.facts.set(output, this.bounded({ ...(inferred[index] ?? unknownFact) }, output));
    });
  }

  private inferredFacts(node: Node): ValueFact[] {
    if (node.domain !== '') return [];
    if (node.opType === 'If' && node.subgraphs.length === 2) return this.branchFacts(node);
    const rule = Object.hasOwn(rules, node.opType) ? rules[node.opType] : undefined;
    return rule?.(node, this) ?? [];
  }

  private branchFacts(node: Node): ValueFact[] {
    const [first, second] = node.subgraphs;
    return node.outputs.map((_, index) => mergeFacts(this.fact(first?.outputs[index]), this.fact(second?.outputs[index])));
  }

  private bounded(fact: ValueFact, output: Value): ValueFact {
    const dataType = fact.dataType ?? declaredDataType(output);
    const elements = fact.elements && fact.elements.length <= elementsTrackedMax && isTrackedType(dataType) ? fact.elements : null;
    return { dataType, shape: fact.shape, elements };
  }

  /** Inputs of a loop body are declared with sizes that nothing enforces, so only those of the main graph are believed. */
  private walk(graph: Graph, isMain: boolean): void {
    for (const input of graph.inputs) {
      const declared = factOfType(input.type);
      // onnxruntime does not check the rank of an input that is declared as a scalar.
      const shape = isMain && declared.shape?.length ? declared.shape : null;
      this.facts.set(input, { ...declared, shape });
    }
    for (const [value, tensor] of graph.initializers) {
      if (isOverridable(this.model, graph, value)) continue;
      this.learnConstant(value, tensor);
    }
    for (const node of graph.nodes) this.inferNode(node);
  }
}
