/** Attributes and small constants that count channels, brought up to date while the model is cut. */
import type { Node } from '../../../ir/index.js';
import type { SurgeryScope } from '../surgery-scope.js';
import { adjustReshape } from './adjust-shape.js';

/** Sees the model before any weight was cut. */
export type NodeAdjuster = (node: Node, scope: SurgeryScope) => void;

const adjusters: Readonly<Record<string, NodeAdjuster>> = {
  Reshape: adjustReshape,
};

export function adjustNode(node: Node, scope: SurgeryScope): void {
  if (node.domain === '' && Object.hasOwn(adjusters, node.opType)) adjusters[node.opType]?.(node, scope);
}
