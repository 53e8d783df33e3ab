/** Attributes and small constants that count channels, brought up to date while the model is cut. */
import type { Node } from '../../../ir/index.js';
import type { SurgeryScope } from '../surgery-scope.js';
import {
  adjustAttention,
  adjustGroup,
  adjustHeads,
  adjustHiddenSize,
  adjustNormalizationGroups,
  adjustProjectingAttention,
} from './adjust-counts.js';
import { adjustGather, adjustSlice, adjustSplit } from './adjust-cuts.js';
import { adjustConstantOfShape, adjustExpand, adjustReshape, adjustResize } from './adjust-shape.js';

/** Sees the model before any weight was cut. */
type NodeAdjuster = (node: Node, scope: SurgeryScope) => void;

const adjusters: Readonly<Record<string, NodeAdjuster>> = {
  '::Attention': adjustAttention,
  '::ConstantOfShape': adjustConstantOfShape,
  '::Conv': adjustGroup,
  '::ConvTranspose': adjustGroup,
  '::Expand': adjustExpand,
  '::GRU': adjustHiddenSize,
  '::Gather': adjustGather,
  '::GroupNormalization': adjustNormalizationGroups,
  '::LSTM': adjustHiddenSize,
  '::RNN': adjustHiddenSize,
  '::Reshape': adjustReshape,
  '::Resize': adjustResize,
  '::RotaryEmbedding': adjustHeads,
  '::Slice': adjustSlice,
  '::Split': adjustSplit,
  'com.microsoft::Attention': adjustProjectingAttention,
  'com.microsoft::GroupQueryAttention': adjustHeads,
  'com.microsoft::MultiHeadAttention': adjustHeads,
  'com.microsoft::RotaryEmbedding': adjustHeads,
};

export function adjustNode(node: Node, scope: SurgeryScope): void {
  const key = `${node.domain}::${node.opType}`;
  if (Object.hasOwn(adjusters, key)) adjusters[key]?.(node, scope);
}
