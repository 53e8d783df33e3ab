/** Layers that a network can go without: branches around which a shortcut carries the value on as it is. */
import { type Graph, type Model, type Node, nodesMaking, type Value, valuesBehind } from '../../ir/index.js';
import { trunkOf, weighingOperators } from '../../layers/trunk.js';

/** y = x + f(x), by name; x and y lie on the trunk. */
export interface TrunkBranch {
  /** x, which all paths pass through. */
  readonly entry: string;
  /** y. */
  readonly sum: string;
  /** The nodes of f. */
  readonly nodes: readonly Node[];
}

/** What goes together: one branch, or the several of an encoder layer (attention and feed-forward). */
export interface ResidualLayer {
  readonly branches: readonly TrunkBranch[];
  /** Layers with nothing but each other between them have one number. */
  readonly run: number;
}

/**
 * In the order of the network. A branch counts when its sum and its shortcut lie on the trunk, have the same sizes in `shapes`, and weights
 * are between them. Branches that follow each other form layers by the shortest period in which their operators repeat. Nodes must be
 * sorted.
 */
export function residualLayers({ graph }: Model, shapes: ReadonlyMap<string, readonly number[]>): ResidualLayer[] {
  return runsOf(graph, shapes).flatMap((branches, run) => {
    const period = periodOf(branches.map(signatureOf));
    return Array.from({ length: branches.length / period }, (_, at) => ({ branches: branches.slice(at * period, (at + 1) * period), run }));
  });
}

function runsOf(graph: Graph, shapes: ReadonlyMap<string, readonly number[]>): TrunkBranch[][] {
  const depths = new Map(trunkOf(graph).map(({ value, depth }) => [value, depth] as const));
  const runs: TrunkBranch[][] = [];
  let reached = 0;
  for (const [sum, depth] of depths) {
    const entry = shortcutOf(sum, depths, shapes);
    const from = entry && depths.get(entry);
    if (!entry || from === undefined || from === depth) continue;
    const branch = { entry: entry.name, sum: sum.name, nodes: nodesBetween(graph, entry, sum) };
    const [last] = runs.slice(-1);
    if (last && from === reached) last.push(branch);
    else runs.push([branch]);
    reached = depth;
  }
  return runs;
}

/** The operand of an Add that is on the trunk itself and of the size of the sum. */
function shortcutOf(sum: Value, depths: ReadonlyMap<Value, number>, shapes: ReadonlyMap<string, readonly number[]>): Value | undefined {
  const { producer } = sum;
  if (producer?.opType !== 'Add' || producer.domain !== '') return undefined;
  const dims = shapes.get(sum.name)?.join();
  return producer.inputs.flatMap((input) => (input && depths.has(input) && shapes.get(input.name)?.join() === dims ? [input] : []))[0];
}

/** What `sum` needs that comes after `entry`. */
function nodesBetween(graph: Graph, entry: Value, sum: Value): Node[] {
  const places = new Map(graph.nodes.map((node, place) => [node, place] as const));
  const placeOf = ({ producer }: Value): number => (producer ? (places.get(producer) ?? -1) : -1);
  return nodesMaking(
    graph,
    valuesBehind([sum], (value) => value !== entry && placeOf(value) > placeOf(entry)),
  );
}

/** Its layers and normalizing operators: how sizes and constants are written around them differs from place to place. */
function signatureOf({ nodes }: TrunkBranch): string {
  return nodes.flatMap(({ opType }) => (weighingOperators.has(opType) || opType === 'Softmax' ? [opType] : [])).join();
}

/** The smallest p, a part of the length and below it, with s_i = s_(i+p); 1 where nothing repeats. */
function periodOf(signatures: readonly string[]): number {
  const { length } = signatures;
  for (let period = 1; period < length; period += 1)
    if (length % period === 0 && signatures.every((each, at) => each === signatures[at % period])) return period;
  return 1;
}
