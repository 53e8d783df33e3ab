/** Reverse-mode differentiation: the backward graph of an ONNX graph, in plain ONNX operators, written behind it. */
import { EngineError } from '../engine-errors.js';
import {
  capturedValues,
  dependencies,
  type Graph,
  GraphWriter,
  type Model,
  NameAuthority,
  type Node,
  sortTopologically,
  type Tensor,
  type Value,
} from '../ir/index.js';
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
  readonly estimator?: Estimator;
}

/** A gradient that takes the place of the operator's own, where that says nothing (rounding) or something else; undefined for the own one. */
export type Estimator = (node: Node) => GradientRule | undefined;

/** The straight-through estimator (Bengio et al. 2013) of a node of one input: its gradient as if it were the identity. */
export const straightThrough: GradientRule = ({ gradients }) => gradients;

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
  const { model, shapes } = request;
  if (model.opset < OPSET_MIN) throw new RangeError(`vjp: the model has operator set ${model.opset}, ${OPSET_MIN} is needed`);
  const write = new GraphWriter(model, request.names ?? new NameAuthority(model), model.graph, 'backward');
  const estimator = request.estimator ?? (() => undefined);
  return gradientsWithin({ write, shapes, estimator, graphs: [model.graph] }, request);
}

/** A graph that is differentiated. */
interface Region {
  /** Writes into the graph. */
  readonly write: GraphWriter;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly estimator: Estimator;
  /** The graph and those around it, from inside to outside. */
  readonly graphs: readonly Graph[];
}

/** The gradients by `wrt`, written behind the nodes of the graph of the region. */
function gradientsWithin(region: Region, { cotangents, wrt }: Pick<VjpRequest, 'cotangents' | 'wrt'>): Map<Value, Value> {
  const { write, estimator } = region;
  const forward = [...write.graph.nodes];
  const active = activeValues(forward, wrt, estimator);
  const adjoints = new Adjoints(write);
  const give = (value: Value, gradient: Value): void => {
    if (active.has(value)) adjoints.add(value, gradient);
  };
  for (const [value, cotangent] of cotangents) give(value, cotangent);
  for (const node of forward.reverse()) {
    const gradients = node.outputs.map((output) => (output && active.has(output) ? adjoints.total(output) : null));
    if (gradients.every((gradient) => gradient === null)) continue;
    const step = new Step({ node, gradients, active, region, give });
    for (const [index, gradient] of (estimator(node) ?? ruleOf(node))(step).entries()) {
      const input = node.inputs[index];
      if (input && gradient) give(input, gradient);
    }
  }
  const found = new Map(
    wrt.flatMap((value) => {
      const gradient = adjoints.total(value);
      return gradient ? [[value, gradient] as const] : [];
    }),
  );
  /** A rule may have put nodes of its own behind the readers of what they make. */
  sortTopologically(write.graph);
  return found;
}

/** Values that change when one of `wrt` does. */
function activeValues(nodes: readonly Node[], wrt: readonly Value[], estimator: Estimator): ReadonlySet<Value> {
  const active = new Set(wrt);
  for (const node of nodes) {
    if ((differentiability(node) === 'constant' && !estimator(node)) || ![...dependencies(node)].some((value) => active.has(value)))
      continue;
    for (const output of node.outputs) if (output) active.add(output);
  }
  return active;
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
    const sum = this.sum(this.withJoinedPads(parts));
    this.parts.set(value, [sum]);
    return sum;
  }

  /** In pairs: Add runs on all threads, Sum on one. */
  private sum(parts: readonly Value[]): Value {
    return parts.reduce((left, right) => this.write.node('Add', [left, right]));
  }

  /** pad a + pad b = pad(a + b): what was read at one place of a large value, as the last step of a sequence, is summed while it is small. */
  private withJoinedPads(parts: readonly Value[]): Value[] {
    const places = new Set(parts.map((part) => zeroPadded(part)?.pads));
    return [...places].flatMap((pads) => {
      const same = parts.filter((part) => zeroPadded(part)?.pads === pads);
      if (!pads || same.length === 1) return same;
      const inner = same.flatMap((part) => zeroPadded(part)?.inner ?? []);
      return [this.write.node('Pad', [this.sum(inner), pads])];
    });
  }
}

/** Constants are shared, so that equal pads are one value: parts of one sum with equal pads have equal sizes inside. */
function zeroPadded({ producer }: Value): { readonly inner: Value; readonly pads: Value } | undefined {
  const [inner, pads, ...others] = producer?.inputs ?? [];
  return producer?.opType === 'Pad' && producer.attributes.size === 0 && inner && pads && others.length === 0 ? { inner, pads } : undefined;
}

interface StepParts {
  readonly node: Node;
  readonly gradients: readonly (Value | null)[];
  readonly active: ReadonlySet<Value>;
  readonly region: Region;
  readonly give: (value: Value, gradient: Value) => void;
}

class Step implements BackwardStep {
  readonly node: Node;
  readonly gradients: readonly (Value | null)[];
  readonly write: GraphWriter;
  readonly give: (value: Value, gradient: Value) => void;

  constructor(private readonly parts: StepParts) {
    this.node = parts.node;
    this.gradients = parts.gradients;
    this.write = parts.region.write;
    this.give = parts.give;
  }

  get captured(): readonly Value[] {
    return [...capturedValues(this.node)].filter((value) => this.parts.active.has(value));
  }

  gradientsIn(graph: Graph, cotangents: ReadonlyMap<Value, Value>, wrt: readonly Value[] = this.captured): ReadonlyMap<Value, Value> {
    const { region } = this.parts;
    const inner = { ...region, write: this.write.within(graph), graphs: [graph, ...region.graphs] };
    return gradientsWithin(inner, { cotangents, wrt });
  }

  wants(index: number): boolean {
    const input = this.node.inputs[index];
    return input !== null && input !== undefined && this.parts.active.has(input);
  }

  shape(value: Value | null | undefined): readonly number[] {
    const { graphs, shapes } = this.parts.region;
    const constant = value && graphs.find((graph) => graph.initializers.has(value))?.initializers.get(value);
    const known = value && (constant?.dims ?? shapes.get(value.name) ?? declaredSizes(value));
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

  constant(value: Value | null | undefined): Tensor | undefined {
    for (const graph of this.parts.region.graphs) {
      const found = graph.constant(value ?? null);
      if (found) return found;
    }
    return undefined;
  }
}

/** Inside branches that no run has taken only the model's own word is known. */
function declaredSizes({ type }: Value): readonly number[] | undefined {
  if (type?.kind !== 'tensor' || !type.shape?.every((size) => typeof size === 'number')) return undefined;
  return type.shape as readonly number[];
}
