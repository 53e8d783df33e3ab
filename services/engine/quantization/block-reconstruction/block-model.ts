/** A block of a network as a model of its own. */
import { cloneModel, type Model, type Node, type Tensor, type Value } from '../../ir/index.js';
import type { Block } from './blocks.js';

export interface BlockShape {
  /** A tensor for each input, by name. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Names of the float outputs. */
  readonly outputs: readonly string[];
}

/** A copy of `model` with nothing but the block: it takes `inputs` in the sizes of these tensors, and returns `outputs`. Weights are shared. */
export function blockModel(model: Model, { nodes }: Pick<Block<unknown>, 'nodes'>, { inputs, outputs }: BlockShape): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const values = new Map(
    [...graph.inputs, ...graph.nodes.flatMap((node) => node.outputs)].flatMap((value) => (value ? [[value.name, value]] : [])),
  );
  const kept = new Set(nodes.map(firstOutput));
  const dropped = graph.nodes.filter((node) => !kept.has(firstOutput(node)));
  graph.remove(dropped);
  const value = (name: string): Value => {
    const found = values.get(name);
    if (!found) throw new RangeError(`blockModel: the graph has no value "${name}"`);
    return found;
  };
  graph.inputs.splice(0);
  for (const [name, { dataType, dims }] of inputs) {
    const input = value(name);
    input.producer = null;
    input.type = { kind: 'tensor', dataType, shape: dims };
    graph.inputs.push(input);
  }
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...outputs.map(value));
  for (const [constant] of [...graph.initializers]) if (!constant.isRead) graph.initializers.delete(constant);
  return copy;
}

/** What a node is known by in copies of its graph. */
export const firstOutput = (node: Node): string => node.outputs.find((output) => output)?.name ?? '';
