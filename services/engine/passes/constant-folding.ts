/** Constant folding: known results replace the nodes that compute them, as long as the file does not grow for it. */
import { byteCount, elementCount, type Graph, type Node, type Tensor, type Value } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import { tensorKey } from './model-editor.js';
import type { PassScope } from './pass.js';

/** A node with its names takes about this much in a file. */
const nodeBytes = 120;

/** Constants up to this size are always stored: operands of shapes, slices, scales. */
const smallBytes = 1024;

function sizeInBytes(tensor: Tensor): number {
  return byteCount(tensor.dataType, elementCount(tensor.dims));
}

type Scope = Omit<PassScope, 'graph'>;

/** What folding has given and may still take, in bytes of the file. */
export interface GrowthBudget {
  bytesLeft: number;
}

/** Stored constants that die when `node` goes, in bytes: those that only nodes of constant value read. */
function freedBytes(node: Node, scope: Scope, seen: Set<Node>): number {
  if (seen.has(node)) return 0;
  seen.add(node);
  let freed = nodeBytes;
  for (const input of node.inputs) {
    if (!input) continue;
    const isShared = scope.editor.isGraphOutput(input) || input.consumers.some((reader) => !seen.has(reader) && reader !== node);
    if (isShared) continue;
    const stored = scope.editor.model.graph.initializers.get(input);
    if (stored) freed += sizeInBytes(stored);
    else if (input.producer && scope.facts.constant(input)) freed += freedBytes(input.producer, scope, seen);
  }
  return freed;
}

function isFoldable(node: Node, scope: Scope): boolean {
  const live = node.outputs.filter((output): output is Value => output !== null && scope.editor.isLive(output));
  if (live.length === 0 || live.some((output) => scope.editor.isGraphOutput(output))) return false;
  return live.every((output) => scope.facts.constant(output));
}

/** True when a reader is not going to be folded itself. */
function isWanted(output: Value, folded: ReadonlySet<Node>): boolean {
  return output.consumers.some((reader) => !folded.has(reader));
}

/**
 * Folds in reverse order, so that only the last results of constant chains are stored. `budget` is how many bytes the
 * file may still grow; a large result that would exceed it stays computed.
 */
export function foldConstants(scope: Scope, budget: GrowthBudget): boolean {
  const folded = new Set<Node>();
  const nodes = [...graphsWithin(scope.editor.model.graph)].flatMap((graph: Graph) => [...graph.nodes]);
  for (const node of nodes) if (isFoldable(node, scope)) folded.add(node);
  if (folded.size === 0) return false;
  const stored = new Set<string>();
  const byGraph = new Map<Graph, Node[]>();
  for (const node of nodes.reverse()) {
    if (!folded.has(node) || !node.graph) continue;
    const results = node.outputs.filter((output): output is Value => output !== null && isWanted(output, folded));
    const cost = results.reduce((sum, output) => sum + storageCost(output, scope, stored), 0);
    const gain = freedBytes(node, scope, new Set());
    if (cost > smallBytes && cost - gain > budget.bytesLeft) {
      folded.delete(node);
      continue;
    }
    budget.bytesLeft -= Math.max(0, cost - gain);
    for (const output of results) store(output, scope, stored);
    byGraph.set(node.graph, [...(byGraph.get(node.graph) ?? []), node]);
    scope.editor.report(node, 'removed', 'constant-folding', 'its result is the same in every run and is stored instead');
  }
  for (const [graph, removed] of byGraph) graph.remove(removed);
  return byGraph.size > 0;
}

/** Bytes that storing a result adds; nothing when an equal constant is stored already. */
function storageCost(output: Value, scope: Scope, stored: ReadonlySet<string>): number {
  const tensor = scope.facts.constant(output);
  if (!tensor) return 0;
  return stored.has(tensorKey(tensor)) ? 0 : sizeInBytes(tensor);
}

function store(output: Value, scope: Scope, stored: Set<string>): void {
  const tensor = scope.facts.constant(output);
  if (!tensor) return;
  stored.add(tensorKey(tensor));
  const value = scope.editor.addConstant(output.name, tensor, output);
  for (const { node, index } of output.uses) node.setInput(index, value);
}
