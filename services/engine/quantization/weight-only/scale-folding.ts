/** Divides a value by factors per channel of its last axis inside the nodes that make it, where that costs nothing at run time. */
import { float32Tensor, float32Values, intAttribute, type Node, type Tensor, type Value } from '../../ir/index.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import type { ModelFacts } from '../../passes/model-facts.js';
import { headMixingSource } from '../head-mixing.js';

/** A constant input of a node that is to be replaced. */
interface Edit {
  readonly node: Node;
  readonly index: number;
  readonly constant: Constant;
  readonly tensor: Tensor;
}

/** Operators f with f(x / s) = f(x) / s for positive s. */
const homogeneous: ReadonlySet<string> = new Set(['Relu', 'LeakyRelu', 'Identity']);

/**
 * Divides `value` by `factors` if a chain of operators without other readers leads back to one whose constants can take the
 * division over: LayerNormalization, MatMul, Gemm, a Mul or Div by a vector; Add, Relu and, when the shapes are known from `facts`,
 * the mixing of attention heads pass it on. False, and no change, otherwise. `readers` are the nodes that are meant to see the
 * divided value.
 */
export function foldDivision(
  value: Value,
  factors: Float32Array,
  about: { readers: ReadonlySet<Node>; store: WeightStore; facts?: ModelFacts },
): boolean {
  const edits = new Division(factors, about.store, about.facts).editsFor(value, about.readers);
  if (!edits) return false;
  for (const { node, index, constant, tensor } of edits) {
    node.setInput(index, about.store.add(constant, '_scaled', tensor).value);
    about.store.dropIfUnread(constant);
  }
  return true;
}

class Division {
  constructor(
    private readonly factors: Float32Array,
    private readonly store: WeightStore,
    private readonly facts?: ModelFacts,
  ) {}

  editsFor(value: Value, readers: ReadonlySet<Node>): Edit[] | null {
    const { producer } = value;
    if (producer?.domain !== '' || producer.outputs[0] !== value) return null;
    // A reader of the shape does not see the values.
    if (this.store.isGraphOutput(value) || value.consumers.some((reader) => !readers.has(reader) && reader.opType !== 'Shape')) return null;
    const [first, second] = producer.inputs;
    if (homogeneous.has(producer.opType)) return first ? this.editsFor(first, new Set([producer])) : null;
    switch (producer.opType) {
      case 'LayerNormalization':
      case 'RMSNormalization':
      case 'SimplifiedLayerNormalization':
        return this.all([this.vector(producer, 1), ...(producer.inputs[2] ? [this.vector(producer, 2)] : [])]);
      case 'MatMul':
        return this.all([this.columns(producer, 1)]);
      case 'Gemm':
        return this.gemm(producer);
      case 'Div':
        return this.isScalar(second) ? null : this.all([this.vector(producer, 1, (size, factor) => size * factor)]);
      case 'Mul':
        return this.multiplied(producer);
      case 'Reshape':
        return this.mixed(value);
      case 'Add':
        return this.added(producer, this.store.constant(second) ? first : second);
      default:
        return null;
    }
  }

  private all(edits: readonly (Edit | null)[]): Edit[] | null {
    const known = edits.filter((edit) => edit !== null);
    return known.length === edits.length ? known : null;
  }

  private gemm(node: Node): Edit[] | null {
    const weight = intAttribute(node, 'transB', 0) === 1 ? this.rows(node, 1) : this.columns(node, 1);
    return this.all([weight, ...(node.inputs[2] ? [this.vector(node, 2)] : [])]);
  }

  /**
   * A constant vector is divided; of two computed operands (a gate and what it lets through) one that can be. A constant number is
   * left: it may be the last step of an activation (the 0.5 of GELU), which the runtime no longer recognizes with a vector in it.
   */
  private multiplied(node: Node): Edit[] | null {
    const constant = node.inputs.findIndex((input) => this.store.constant(input));
    if (constant >= 0) return this.isScalar(node.inputs[constant]) ? null : this.all([this.vector(node, constant)]);
    if (node.inputs[0] === node.inputs[1]) return null;
    for (const input of node.inputs) {
      const isWhole = input && this.facts?.shape(input)?.at(-1) === this.factors.length;
      const edits = isWhole ? this.editsFor(input, new Set([node])) : null;
      if (edits) return edits;
    }
    return null;
  }

  private mixed(value: Value): Edit[] | null {
    const { facts, store, factors } = this;
    const source = facts && headMixingSource(value, { channels: factors.length, facts, store });
    return source ? this.editsFor(source.value, new Set([source.reader])) : null;
  }

  private isScalar(value: Value | null | undefined): boolean {
    return this.store.constant(value)?.tensor.dims.every((size) => size === 1) ?? false;
  }

  private added(node: Node, other: Value | null | undefined): Edit[] | null {
    const vector = this.vector(node, other === node.inputs[0] ? 1 : 0);
    const behind = other && vector ? this.editsFor(other, new Set([node])) : null;
    return vector && behind ? [vector, ...behind] : null;
  }

  /** Input `index` as a constant vector along the last axis, divided. */
  private vector(node: Node, index: number, change = (size: number, factor: number) => size / factor): Edit | null {
    const constant = this.float(node, index);
    const count = constant?.tensor.dims.reduce((product, size) => product * size, 1);
    const fits = count === 1 || (count === this.factors.length && constant?.tensor.dims.at(-1) === count);
    if (!constant || !fits) return null;
    const source = float32Values(constant.tensor);
    const values = Float32Array.from(this.factors, (factor, at) => change(source[source.length === 1 ? 0 : at] ?? 0, factor));
    const dims = count === 1 ? [values.length] : constant.tensor.dims;
    return { node, index, constant, tensor: float32Tensor(dims, values) };
  }

  /** Input `index` as a constant [.., channels], each column divided. */
  private columns(node: Node, index: number): Edit | null {
    return this.matrix(node, index, { axis: 1, factorAt: (at) => at % this.factors.length });
  }

  /** Input `index` as a constant [channels, ..], each row divided. */
  private rows(node: Node, index: number): Edit | null {
    const depth = node.inputs[index] ? (this.float(node, index)?.tensor.dims[1] ?? 1) : 1;
    return this.matrix(node, index, { axis: 0, factorAt: (at) => Math.floor(at / depth) });
  }

  private matrix(node: Node, index: number, how: { axis: 0 | 1; factorAt: (at: number) => number }): Edit | null {
    const constant = this.float(node, index);
    if (constant?.tensor.dims.length !== 2 || constant.tensor.dims[how.axis] !== this.factors.length) return null;
    // A matrix that others read would be stored twice.
    if (constant.value.uses.length > 1) return null;
    const values = float32Values(constant.tensor).map((size, at) => size / (this.factors[how.factorAt(at)] ?? 1));
    return { node, index, constant, tensor: float32Tensor(constant.tensor.dims, values) };
  }

  private float(node: Node, index: number): Constant | null {
    const constant = this.store.constant(node.inputs[index]);
    return constant?.tensor.dataType === 'float32' && !this.store.isGraphOutput(constant.value) ? constant : null;
  }
}
