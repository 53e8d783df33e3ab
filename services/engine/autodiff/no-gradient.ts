/** The errors of rules that cannot carry a gradient through a node. */
import { EngineError } from '../engine-errors.js';
import type { Node } from '../ir/index.js';

/** `where`: in which form of the operator, as the sentence goes on. */
export function noGradient(node: Node, where: string): EngineError {
  return new EngineError(
    'model_unsupported',
    `${node.opType} (node "${node.name}") has no gradient ${where}. Train only weights behind it: name them in "trainable".`,
    { operator: node.opType, node: node.name },
  );
}

/** Of a rule that needs an operand which is not the same in every run. */
export function unknownOperand(node: Node, operand: string): EngineError {
  return noGradient(node, `here: its ${operand} are not constant`);
}
