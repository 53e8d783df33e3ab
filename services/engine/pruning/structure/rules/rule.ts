/** What a rule of an operator is. */
import type { Node } from '../../../ir/index.js';
import type { StructureScope } from '../structure-scope.js';

/**
 * Ties the slots of what the node reads and gives slots to what it makes. Every axis that any slot depends on must be dealt with:
 * passed on, tied, summed over, or frozen with a reason.
 */
export type StructureRule = (node: Node, scope: StructureScope) => void;
