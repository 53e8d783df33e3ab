/** The error of a rule that needs an operand which is not the same in every run. */
import { EngineError } from '../engine-errors.js';
import type { Node } from '../ir/index.js';

export function unknownOperand(node: Node, operand: string): EngineError {
  return new EngineError(
    'model_unsupported',
    `${node.opType} (node "${node.name}") has no gradient here: its ${operand} are not constant. Train only weights behind it: name them in "trainable".`,
    { operator: node.opType, node: node.name },
  );
}
