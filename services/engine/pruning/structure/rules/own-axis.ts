/** The axis that an operator names. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { normalizeAxis } from '../../../passes/value-facts.js';

export function ownAxis(node: Node, rank: number, fallback: number): number {
  return normalizeAxis(intAttribute(node, 'axis', fallback), rank);
}
