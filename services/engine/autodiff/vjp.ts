/** Reverse-mode differentiation: the backward graph of an ONNX graph, in plain ONNX operators, written behind it. */
import { EngineError } from '../engine-errors.js';
import { GraphWriter, type Model, NameAuthority, type Node, type Value } from '../ir/index.js';
import type { BackwardStep, GradientRule } from './gradient-rule.js';
import { differentiability } from './gradient-table.js';

export interface VjpRequest {
  /** Of operator set 13 or later, extended in place. Values behind which a gradient flows must be of the main graph. */
  readonly model: Model;
  /** Sizes by name of value, as for one run of the graph: the backward graph is written for exactly these. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** dL/dy by output y: a value of the graph in the shape of y. */
  readonly cotangents: ReadonlyMap<Value, Value>;
  /** What to differentiate by: graph inputs, initializers or intermediate values, all float32. */
  readonly wrt: readonly Value[];
  readonly names?: NameAuthority;
}

/** The first whose reductions take their axes as an input, and whose Softmax has one axis. */
const OPSET_MIN = 13;

/**
 * Vector-Jacobian product (Griewank and Walther, Evaluating Derivatives, 2008, section 3.2): for L = sum_y <dL/dy, y> the
 * adjoint of every value is x' = sum over readers r of x of (dr/dx)^T r', gathered from the last node to the first.
 * Only nodes between `wrt` and the outputs are touched: constant and frozen parts cost nothing.
 * Returns dL/dx by x; a value that no output depends on is missing.
 * Throws EngineError `model_unsupported`, naming the operator that no gradient passes.
 */
export function vjp(request: VjpRequest): Map<Value, Value> {
  const { model, wrt } = request;
  if (model.opset < OPSET_MIN) throw new RangeError(`vjp: the model has operator set ${model.opset}, ${OPSET_MIN} is needed`);
  const write = new GraphWriter(model, request.names ?? new NameAuthority(model), model.graph, 'backward');
  const forward = [...model.graph.nodes];
  const active = activeValues(forward, wrt);
  const adjoints = new Adjoints(write);
  for (const [value, cotangent] of request.cotangents) if (active.has(value)) adjoints.add(value, cotangent);
  for (const node of forward.reverse()) {
    const gradients = node.outputs.map((output) => (output && active.has(output) ? adjoints.total(output) : null));
    if (gradients.every((gradient) => gradient === null)) continue;
    const step = new Step({ node, gradients, write, active, request });
    for (const [index, gradient] of ruleOf(node)(step).entries()) {
      const input = node.inputs[index];
      if (input && gradient && active.has(input)) adjoints.add(input, gradient);
    }
  }
  return new Map(
    wrt.flatMap((value) => {
      const gradient = adjoints.total(value);
      return gradient ? [[value, gradient] as const] : [];
    }),
  );
}

/** Values that change when one of `wrt` does. */
function activeValues(nodes: readonly Node[], wrt: readonly Value[]): ReadonlySet<Value> {
  const active = new Set(wrt);
  for (const node of nodes) {
    if (!readsAny(node, active) || differentiability(node) === 'constant') continue;
    for (const output of node.outputs) if (output) active.add(output);
  }
  return active;
}

function readsAny(node: Node, active: ReadonlySet<Value>): boolean {
  if (node.inputs.some((input) => input !== null && active.has(input))) return true;
  return node.subgraphs.some((graph) => graph.nodes.some((inner) => readsAny(inner, active)));
}

function ruleOf(node: Node): GradientRule {
  const found = differentiability(node);
  if (typeof found === 'function') return found;
  throw new EngineError(
    'model_unsupported',
    `${node.opType} (node "${node.name}") has no gradient rule. Train only weights behind it: name them in "trainable".`,
    { operator: node.opType, node: node.name },
  );
}

/** Gradients gathered so far; several readers of one value are summed when the total is asked for. */
class Adjoints {
  private readonly parts = new Map<Value, Value[]>();

  constructor(private readonly write: GraphWriter) {}

  add(value: Value, gradient: Value): void {
    const parts = this.parts.get(value);
    if (parts) parts.push(gradient);
    else this.parts.set(value, [gradient]);
  }

  total(value: Value): Value | null {
    const parts = this.parts.get(value);
    if (!parts) return null;
    const [first = null] = parts;
    if (parts.length === 1) return first;
    const sum = this.write.node(parts.length === 2 ? 'Add' : 'Sum', parts);
    this.parts.set(value, [sum]);
    return sum;
  }
}

interface StepParts {
  readonly node: Node;
  readonly gradients: readonly (Value | null)[];
  readonly write: GraphWriter;
  readonly active: ReadonlySet<Value>;
  readonly request: VjpRequest;
}

class Step implements BackwardStep {
  readonly node: Node;
  readonly gradients: readonly (Value | null)[];
  readonly write: GraphWriter;

  constructor(private readonly parts: StepParts) {
    this.node = parts.node;
    this.gradients = parts.gradients;
    this.write = parts.write;
  }

  wants(index: number): boolean {
    const input = this.node.inputs[index];
    return input !== null && input !== undefined && this.parts.active.has(input);
  }

  shape(value: Value | null | undefined): readonly number[] {
    const { model, shapes } = this.parts.request;
    const known = value && (model.graph.initializers.get(value)?.dims ?? shapes.get(value.name));
    if (known) return known;
    throw new EngineError(
      'model_unsupported',
      `The sizes of "${value?.name ?? 'an omitted input'}" of ${this.node.opType} "${this.node.name}" are not known, so its gradient cannot be written.`,
    );
  }

  output(index: number): Value {
    const present = this.node.outputs[index];
    if (present) return present;
    const added = this.write.value(`${this.node.opType}_${index}`);
    this.node.setOutput(index, added);
    return added;
  }

  constant(value: Value | null | undefined) {
    return this.parts.request.model.graph.constant(value ?? null);
  }
}
