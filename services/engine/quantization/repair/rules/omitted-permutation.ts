/** Transpose of a weight with one scale per channel that leaves its order to the default: the runtime ends the whole process. */
import { attributeOf, type Node } from '../../../ir/index.js';
import type { Rule } from '../finding.js';
import type { QuantizedGraph } from '../quantized-graph.js';

/** Transposes without `perm` behind a DequantizeLinear per channel, with the rank of what they transpose (undefined when unknown). */
function transposes(graph: QuantizedGraph): { node: Node; rank: number | undefined }[] {
  return graph.nodes.flatMap((node) => {
    const source =
      node.opType === 'Transpose' && node.domain === '' && !node.attributes.has('perm') ? graph.dequantizer(node.inputs[0]) : undefined;
    return source && !source.isPerTensor ? [{ node, rank: graph.rank(source.input) ?? graph.rank(source.output) }] : [];
  });
}

function writePermutation(node: Node, rank: number): void {
  node.attributes.set('perm', attributeOf.ints(Array.from({ length: rank }, (_, axis) => rank - 1 - axis)));
}

export const omittedPermutation: Rule = {
  title: 'Transpose without its attribute perm behind a weight with one scale per channel.',
  examine: (graph) =>
    transposes(graph).map(({ node, rank }) => {
      const sentence =
        'It has no attribute perm and transposes a weight with one scale per channel: onnxruntime 1.30 ends the whole process when it loads such a model (the transpose optimizer reads the attribute that is not there).';
      if (rank === undefined) return { node, effect: 'fails', sentence, repairable: 'no', instead: 'Write the attribute perm.' };
      const apply = () => {
        writePermutation(node, rank);
        return [];
      };
      return {
        node,
        effect: 'fails',
        sentence,
        repairable: 'exact',
        instead: 'The default, the reversed order, is written out.',
        repair: { proof: 'equal', apply },
      };
    }),
};
