/** BatchNormalization, and scaling or shifting by constants, folds into the Conv, ConvTranspose or Gemm that makes its input. */
import type { Node } from '../ir/index.js';
import { arithmeticAffine, batchNormalizationAffine, type ChannelAffine, linearWeights, withAffineOutput } from './channel-affine.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

function affineOf(node: Node, channels: number, scope: PassScope): ChannelAffine | undefined {
  if (node.opType === 'BatchNormalization') return batchNormalizationAffine(node, scope);
  return arithmeticAffine(node, channels, scope);
}

/** The node whose output only this node reads, whichever operand it is. */
function linearOperand(node: Node, scope: PassScope): Node | undefined {
  for (const input of node.inputs.slice(0, 2)) {
    const producer = scope.editor.soleProducer(input);
    const isLinear = producer?.domain === '' && ['Conv', 'ConvTranspose', 'Gemm'].includes(producer.opType);
    if (producer && isLinear && producer.graph === scope.graph) return producer;
  }
  return undefined;
}

function fold(node: Node, scope: PassScope): Rewrite | null {
  const linear = linearOperand(node, scope);
  const weights = linear && linearWeights(linear, scope);
  const affine = weights && affineOf(node, weights.channels, scope);
  const [output] = node.outputs;
  if (!linear || !affine || !output || affine.data !== linear.outputs[0]) return null;
  const folded = withAffineOutput(linear, weights, affine, scope);
  const made = folded?.outputs[0];
  if (!folded || !made) return null;
  const reason = `folded into the weights of ${linear.name || linear.opType}`;
  return { reason, anchor: linear, insert: [folded], redirect: [[output, made]], remove: [node], replaced: [linear] };
}

export const batchNormalizationFolding: Pass = {
  name: 'batch-normalization-folding',
  opTypes: ['BatchNormalization'],
  rewrite: fold,
};

export const channelArithmeticFolding: Pass = {
  name: 'channel-arithmetic-folding',
  opTypes: ['Mul', 'Add', 'Sub', 'Div'],
  rewrite: fold,
};
