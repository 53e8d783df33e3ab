/** Which nodes of a float32 model compute in 16 bit floats, and why the others do not. */
import { type DataType, type Graph, graphsWithin, type Model, type Node, type Value } from '../../ir/index.js';
import { nameMatcher } from '../../layers/name-patterns.js';
import { reportName, type WeightStore } from '../../layers/weight-store.js';
import { factsOf } from '../../passes/constant-nodes.js';
import type { ModelFacts } from '../../passes/model-facts.js';
import type { HalfFormat } from './half-format.js';
import { halfRule, isDefinedIn, isKeptInput, isKeptOutput } from './half-operators.js';

export interface PlanOptions {
  readonly format: HalfFormat;
  readonly keepOpTypes: ReadonlySet<string>;
  readonly exclude: readonly string[];
  /** Tensors that were observed to leave the range of the format, by name: nothing makes or reads them in half. */
  readonly wide: ReadonlySet<string>;
}

const quantizers = /^(Dequantize|Quantize|DynamicQuantize)Linear$|^(MatMul|Conv)Integer$/;

export class PrecisionPlan {
  readonly half = new Set<Node>();
  /** Why a node that handles float32 values does not compute in half. */
  readonly reasons = new Map<Node, string>();
  private readonly facts: ModelFacts;
  private readonly isExcluded: (name: string) => boolean;

  constructor(
    private readonly model: Model,
    private readonly store: WeightStore,
    private readonly options: PlanOptions,
  ) {
    this.facts = factsOf(model);
    this.isExcluded = nameMatcher(options.exclude);
    for (const graph of graphsWithin(model.graph)) this.planGraph(graph);
  }

  isFloat32(value: Value | null | undefined): value is Value {
    return this.dataType(value) === 'float32';
  }

  /** Facts may miss what a body returns, and the first output of an operator that computes, which has the type of its first input. */
  dataType(value: Value | null | undefined): DataType | null {
    const known = this.facts.fact(value).dataType;
    const producer = value?.producer;
    if (known || !value || !producer) return known;
    const index = producer.outputs.indexOf(value);
    const [body] = producer.subgraphs;
    // The first output of a Loop body is the condition, which the Loop does not return.
    if (body && producer.domain === '') return this.dataType(body.outputs[producer.opType === 'Loop' ? index + 1 : index]);
    return index === 0 && halfRule(producer).kind === 'computes' ? this.dataType(producer.inputs[0]) : null;
  }

  /** Float32 inputs of the node that it takes in half when it computes in half. */
  halfInputs(node: Node): number[] {
    const rule = halfRule(node);
    return node.inputs.flatMap((value, index) => (this.isFloat32(value) && !isKeptInput(rule, index) ? [index] : []));
  }

  halfOutputs(node: Node): number[] {
    const rule = halfRule(node);
    return node.outputs.flatMap((value, index) => (value && this.isFloat32(value) && !isKeptOutput(rule, index) ? [index] : []));
  }

  /** True when the value comes out of its producer in half. */
  isMadeInHalf(value: Value): boolean {
    const { producer } = value;
    return producer !== null && this.half.has(producer) && !isKeptOutput(halfRule(producer), producer.outputs.indexOf(value));
  }

  private planGraph(graph: Graph): void {
    for (const node of graph.nodes) {
      const rule = halfRule(node);
      if (rule.kind === 'conversion' || rule.kind === 'source' || !this.handlesFloat32(node)) continue;
      const reason = this.obstacle(node);
      if (reason === undefined) this.half.add(node);
      // What only reads a value (Shape, IsNaN, a comparison) takes it as it comes: there is nothing to say.
      else if (rule.kind !== 'follows' || this.halfOutputs(node).length > 0) this.reasons.set(node, reason);
    }
  }

  private handlesFloat32(node: Node): boolean {
    return [...node.inputs, ...node.outputs].some((value) => this.isFloat32(value));
  }

  private obstacle(node: Node): string | undefined {
    const { format, keepOpTypes, wide } = this.options;
    const rule = halfRule(node);
    if (rule.kind === 'stays') return rule.reason;
    if (this.isExcluded(reportName(node))) return 'it is excluded';
    if (keepOpTypes.has(node.opType)) return `${node.opType} is to stay float32`;
    if (!isDefinedIn(rule, format.type, this.model.opset))
      return `it is not defined for ${format.type} in operator set ${this.model.opset}`;
    const touched = [...this.halfInputs(node).map((at) => node.inputs[at]), ...this.halfOutputs(node).map((at) => node.outputs[at])];
    const far = touched.find((value) => value && wide.has(value.name));
    if (far) return `values of "${far.name}" beyond ${format.max} were observed`;
    return this.typeObstacle(node) ?? this.quantizationObstacle(node) ?? (rule.kind === 'follows' ? this.leaderObstacle(node) : undefined);
  }

  /** All float operands of a node have one type: an operand of another or an unknown type forbids to change the rest. */
  private typeObstacle(node: Node): string | undefined {
    const rule = halfRule(node);
    const operands = [
      ...node.inputs.filter((_, index) => !isKeptInput(rule, index)),
      ...node.outputs.filter((_, index) => !isKeptOutput(rule, index)),
    ];
    for (const value of operands) {
      if (!value) continue;
      const dataType = this.dataType(value);
      if (dataType === null) return `the type of "${value.name}" is not known`;
      if (dataType !== 'float32' && (dataType.startsWith('float') || dataType === 'bfloat16')) return `"${value.name}" is ${dataType}`;
    }
    return undefined;
  }

  /**
   * What stands between DequantizeLinear and QuantizeLinear is one integer kernel, and so are an integer product and the Mul
   * that scales it: a Cast in between would undo it.
   */
  private quantizationObstacle(node: Node): string | undefined {
    const isQuantizer = (other: Node | null): boolean => other !== null && quantizers.test(other.opType);
    const isFromQuantizer = (value: Value | null): boolean => {
      const producer = value?.producer ?? null;
      return isQuantizer(producer) || (producer?.opType === 'Cast' && isFromQuantizer(producer.inputs[0] ?? null));
    };
    const isAround = node.inputs.some(isFromQuantizer) || node.outputs.some((value) => value?.consumers.some(isQuantizer));
    return isAround ? 'it is part of a quantized layer' : undefined;
  }

  private leaderObstacle(node: Node): string | undefined {
    const data = this.halfInputs(node).flatMap((at) => node.inputs[at] ?? []);
    const led = data.filter((value) => !this.isFree(value));
    return led.length === 0 || led.some((value) => this.isMadeInHalf(value)) ? undefined : 'it only moves values that are float32';
  }

  /** Constants and conversions can be had in either type at no cost. */
  private isFree(value: Value): boolean {
    if (this.store.constant(value)) return true;
    const kind = value.producer ? halfRule(value.producer).kind : undefined;
    return kind === 'conversion' || kind === 'source';
  }
}
