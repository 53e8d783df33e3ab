/** Operands that must be known when the backward graph is written. */
import { integerValues, intsAttribute } from '../ir/index.js';
import type { BackwardStep } from './gradient-rule.js';
import { unknownOperand } from './no-gradient.js';

/** Constant numbers of input `index`, or of the attribute that older operator sets have in its place. */
export function constantNumbers(step: BackwardStep, name: string, index: number): readonly number[] | undefined {
  const attribute = intsAttribute(step.node, name, undefined);
  if (attribute) return attribute;
  if (!step.node.inputs[index]) return undefined;
  const tensor = step.constant(step.node.inputs[index]);
  if (!tensor) throw unknownOperand(step.node, name);
  return integerValues(tensor);
}
