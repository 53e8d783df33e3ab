/** Multiply-accumulate operations of a model for given shapes; what cannot be counted is named, not guessed. */
import { type Graph, graphAttribute, type Model, type Node, type Tensor, type Value } from '../ir/index.js';
import { type MacFormula, macFormulas } from './mac-formulas.js';
import { type OperatorCategory, operatorTraits } from './operator-set.js';

export interface NodeMacs {
  /** Name of the node, or of its first output when it has none. */
  readonly node: string;
  readonly op_type: string;
  readonly macs: number;
}

export interface UncountedNode {
  readonly node: string;
  readonly op_type: string;
  readonly reason: string;
}

export interface MacCount {
  /** Sum over the nodes that could be counted. Of the branches of an If the more expensive one counts. */
  readonly total: number;
  /** Nodes that multiply, in graph order; nodes with none are left out. */
  readonly perNode: readonly NodeMacs[];
  readonly unknown: readonly UncountedNode[];
}

/** Operators of these categories multiply and accumulate; the others count as none, by convention. */
const multiplying: ReadonlySet<OperatorCategory> = new Set(['linear', 'attention', 'recurrent']);

/**
 * Counts one run of the main graph. `shapes` are sizes by value name, observed or inferred; where it has no entry, the
 * static shapes that the model states are used.
 */
export function countMacs(model: Model, shapes: ReadonlyMap<string, readonly number[]>): MacCount {
  return countGraph(model.graph, { shapes, constants: new Map() });
}

interface Known {
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Constants of the graphs around the present one, too. */
  readonly constants: Map<Value, Tensor>;
}

function countGraph(graph: Graph, known: Known): MacCount {
  for (const [value, tensor] of graph.initializers) known.constants.set(value, tensor);
  for (const node of graph.nodes) {
    const constant = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    if (constant?.kind === 'tensor' && node.outputs[0]) known.constants.set(node.outputs[0], constant.value);
  }
  return sum(graph.nodes.map((node) => countNode(node, known)));
}

const nothing: MacCount = { total: 0, perNode: [], unknown: [] };

function countNode(node: Node, known: Known): MacCount {
  if (node.opType === 'If' && node.domain === '') return countBranches(node, known);
  const op_type = node.domain === '' ? node.opType : `${node.domain}::${node.opType}`;
  const unknown = (reason: string): MacCount => ({ total: 0, perNode: [], unknown: [{ node: labelOf(node), op_type, reason }] });
  const category = operatorTraits(node.domain, node.opType)?.category;
  if (!category) return unknown('the operator is not known');
  if (node.subgraphs.length > 0) {
    const body = sum(node.subgraphs.map((subgraph) => countGraph(subgraph, known)));
    return body.total === 0 && body.unknown.length === 0 ? nothing : unknown('how often its body runs is not known');
  }
  if (!multiplying.has(category)) return nothing;
  const formula = macFormulas.get(`${node.domain}::${node.opType}`);
  if (!formula) return unknown('there is no formula for this operator');
  const macs = applyFormula(formula, node, known);
  if (macs === undefined) return unknown('its attributes are not of the types the operator has');
  if (macs === null) return unknown('its shapes are not known');
  return { total: macs, perNode: macs === 0 ? [] : [{ node: labelOf(node), op_type, macs }], unknown: [] };
}

/** undefined when an attribute has the wrong type: the runtime would refuse such a node, but inspection comes before it. */
function applyFormula(formula: MacFormula, node: Node, known: Known): number | null | undefined {
  try {
    return formula(node, {
      input: (index) => shapeOf(node.inputs[index], known),
      output: (index) => shapeOf(node.outputs[index], known),
    });
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** One branch runs: the larger count, and whatever is unknown in either. */
function countBranches(node: Node, known: Known): MacCount {
  const counts = ['then_branch', 'else_branch'].map((name) => {
    const branch = graphAttribute(node, name);
    return branch ? countGraph(branch, known) : nothing;
  });
  const [first = nothing, second = nothing] = counts;
  const larger = first.total >= second.total ? first : second;
  return { total: larger.total, perNode: larger.perNode, unknown: counts.flatMap(({ unknown }) => unknown) };
}

function sum(counts: readonly MacCount[]): MacCount {
  return {
    total: counts.reduce((total, count) => total + count.total, 0),
    perNode: counts.flatMap(({ perNode }) => perNode),
    unknown: counts.flatMap(({ unknown }) => unknown),
  };
}

function labelOf(node: Node): string {
  return node.name || (node.outputs.find((output) => output !== null)?.name ?? node.opType);
}

function shapeOf(value: Value | null | undefined, { shapes, constants }: Known): readonly number[] | undefined {
  if (!value) return undefined;
  const known = shapes.get(value.name) ?? constants.get(value)?.dims;
  if (known) return known;
  const stated = value.type?.kind === 'tensor' ? value.type.shape : null;
  return stated?.every((size): size is number => typeof size === 'number') ? stated : undefined;
}
