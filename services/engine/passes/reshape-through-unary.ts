/** reshape(f(reshape(x))) = f(reshape(x)) for elementwise f: two reshapes around one operator are one. */
import type { Pass } from './pass.js';
import { isReshape, reshapeInPlaceOf } from './reshape-merging.js';
import type { Rewrite } from './rewrite.js';

/** Elementwise operators with one operand and no axis. */
const elementwise: ReadonlySet<string> = new Set(
  'Abs Ceil Clip Cos Elu Erf Exp Floor HardSigmoid LeakyRelu Log Neg Not Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Tanh'.split(
    ' ',
  ),
);

export const reshapeThroughUnary: Pass = {
  name: 'reshape-through-unary',
  opTypes: ['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'],
  rewrite(node, scope): Rewrite | null {
    const operator = scope.editor.soleProducer(node.inputs[0]);
    const before = operator && scope.editor.soleProducer(operator.inputs[0]);
    const source = before?.inputs[0];
    if (operator?.domain !== '' || !elementwise.has(operator.opType) || !isReshape(before) || !source) return null;
    if (operator.graph !== scope.graph || before.graph !== scope.graph) return null;
    const output = node.outputs[0];
    const reshape = output && reshapeInPlaceOf(node, source, scope);
    if (!reshape) return null;
    // The operator moves behind the reshape: it takes the output over, and the reshape gets a new one.
    const between = scope.editor.newValue(`${output.name}_reshaped`);
    reshape.setOutput(0, between);
    const moved = scope.editor.replacement(operator, {
      opType: operator.opType,
      inputs: [between, ...operator.inputs.slice(1)],
      attributes: operator.attributes,
    });
    moved.setOutput(0, output);
    return {
      reason: 'two reshapes around an elementwise operator are one',
      anchor: node,
      insert: [reshape, moved],
      remove: [node, before],
      replaced: [operator],
    };
  },
};
