/** The first and the last layer of a model, which methods that lose accuracy are kinder to. */
import type { Graph, Node } from '../ir/index.js';
import type { WeightStore } from './weight-store.js';

/** Layers that hold most of a model's weights, whichever method changes them: first and last of these are the ends. */
export const layerOperators: ReadonlySet<string> = new Set([
  'Conv',
  'ConvTranspose',
  'LSTM',
  'GRU',
  'RNN',
  'MatMul',
  'Gemm',
  'MatMulNBits',
]);

/** The first and the last layer with constant weights; where branches or bodies hold them, those of each. */
export function endsOf(graph: Graph, store: WeightStore): ReadonlySet<Node> {
  const isLayer = (node: Node): boolean =>
    layerOperators.has(node.opType) && node.inputs.slice(1).some((input) => store.constant(input) !== undefined);
  const found = (order: readonly Node[], below: (subgraph: Graph) => Node[]): Node[] => {
    for (const node of order) {
      const layers = isLayer(node) ? [node] : node.subgraphs.flatMap(below);
      if (layers.length > 0) return layers;
    }
    return [];
  };
  const first = (within: Graph): Node[] => found(within.nodes, first);
  const last = (within: Graph): Node[] => found([...within.nodes].reverse(), last);
  return new Set([...first(graph), ...last(graph)]);
}
